"""Files become experiments: what is accepted, and the one line for each mistake.

files    size, encoding, missing, not YAML
YAML     bombs, cycles, duplicate keys, tags, arbitrary text (hypothesis)
schema   names, types, ranges, rules between fields, defaults

Names of components and their settings are test_catalog.py's, combinations test_plan.py's.
"""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from supreme_core.api.load import MAX_BYTES, load_experiments
from supreme_core.api.model import parse, parse_json
from supreme_core.api.v1alpha1 import (
    SEED_LIMIT,
    Component,
    ExperimentSpec,
    LabelledComponent,
    UnlearningExperiment,
)
from supreme_core.errors import SpecError
from tests.documents import documents_of

MINIMAL = """\
apiVersion: supreme.dev/v1alpha1
kind: UnlearningExperiment
metadata: {name: small}
spec:
  dataset: {name: digits}
  model: {name: resnet18}
  scenarios: [{name: full_class, params: {classes: [3]}}]
  methods: [{name: finetune}]
"""

NOT_A_POWER = (
    "is not a power of two; use {} or {} (the parts are added in a binary tree, which is what makes"
    " the sum the same on any number of ranks)"
)

BAD = {
    # names
    "unknown field": (
        "  seed: {start: 1}",
        "spec.seed: unknown field 'seed'; did you mean 'seeds'?",
    ),
    "unknown field, nothing near": (
        "status: {}",
        "status: unknown field 'status'; allowed: apiVersion, kind, metadata, spec",
    ),
    "unknown field deep inside": (
        "  training: {schedule: {name: cosine, warmupEpoch: 1}}",
        "spec.training.schedule.warmupEpoch: unknown field 'warmupEpoch'; did you mean"
        " 'warmupEpochs'?",
    ),
    "name of python": (
        "  training: {batch_size: 8}",
        "spec.training.batch_size: unknown field 'batch_size'; did you mean 'batchSize'?",
    ),
    "name of python, further out": (
        "  primary_metric: forget_accuracy",
        "spec.primary_metric: unknown field 'primary_metric'; did you mean 'primaryMetric'?",
    ),
    "explicit, which YAML calls list": (
        "  seeds: {explicit: [1]}",
        "spec.seeds.explicit: unknown field 'explicit'; allowed: count, evaluationRepeats, list,"
        " protocol, retrainedReplicas, start, unlearningRepeats",
    ),
    # types
    "text for a number": (
        "  training: {epochs: '8'}",
        'spec.training.epochs is "8"; it should be a valid integer',
    ),
    "float for a whole number": (
        "  training: {epochs: 8.0}",
        "spec.training.epochs is 8.0; it should be a valid integer",
    ),
    "truth for a number": (
        "  parallelism: true",
        "spec.parallelism is true; it should be a valid integer",
    ),
    "text for a truth": ("  suspend: 'no'", 'spec.suspend is "no"; it should be a valid boolean'),
    "number for a text": (
        "  execution: {resources: {cpu: 8}}",
        "spec.execution.resources.cpu is 8; it should be a valid string",
    ),
    "mapping for a list": (
        "  training: {augmentation: {name: random_crop}}",
        'spec.training.augmentation is {"name": "random_crop"}; it should be a valid list',
    ),
    "null for a section": (
        "  training: null",
        "spec.training is null; it should be a mapping with the fields of Training",
    ),
    "number for a section": (
        "  storage: 3",
        "spec.storage is 3; it should be a mapping with the fields of StorageLocation",
    ),
    # ranges and words
    "too small": (
        "  training: {epochs: -1}",
        "spec.training.epochs is -1; it should be greater than or equal to 0",
    ),
    "too large": (
        "  seeds: {count: 1001}",
        "spec.seeds.count is 1001; it should be less than or equal to 1000",
    ),
    "unknown word": (
        "  training: {precision: fp23}",
        'spec.training.precision is "fp23"; allowed: fp32, tf32, bf16, fp16, fp64; did you mean'
        " 'fp32'?",
    ),
    "no endpoint": (
        "  storage: {endpoint: 'ftp://x'}",
        'spec.storage.endpoint is "ftp://x"; it should begin with http:// or https://, and have no'
        " spaces",
    ),
    "no quantity of Kubernetes": (
        "  execution: {resources: {memory: 8K}}",
        'spec.execution.resources.memory is "8K"; it should be a quantity of Kubernetes, such as'
        " 8Gi or 500m",
    ),
    "no end": (
        "  ttlSecondsAfterFinished: 2147483648",
        "spec.ttlSecondsAfterFinished is 2147483648; it should be less than or equal to 2147483647",
    ),
    # rules
    "3 micro-batches": (
        "  training: {microBatches: 3}",
        f"spec.training.microBatches: 3 {NOT_A_POWER.format(2, 4)}",
    ),
    "48 micro-batches": (
        "  training: {microBatches: 48}",
        f"spec.training.microBatches: 48 {NOT_A_POWER.format(32, 64)}",
    ),
    "both forms of seeds": (
        "  seeds: {list: [1, 2], start: 1}",
        "spec.seeds: give either list, or start and count, not both",
    ),
    "a seed twice": ("  seeds: {list: [4, 1, 4]}", "spec.seeds: list names a seed twice: 4"),
    "seeds beyond the last": (
        f"  seeds: {{start: {SEED_LIMIT}, count: 2}}",
        f"spec.seeds: start + count passes the largest seed, {SEED_LIMIT}",
    ),
    "a Job of two nodes": (
        "  execution: {backend: Job, nodes: 2}",
        "spec.execution: nodes is 2 but backend is Job, which runs one node; use Auto, IndexedJob"
        " or PyTorchJob",
    ),
    "a metric twice": (
        "  metrics: [{name: accuracy}, {name: loss}, {name: accuracy}]",
        "spec.metrics: 'accuracy' stands twice; give each entry a label of its own",
    ),
}
"""name: (a line that is added to the minimal experiment, the whole message)."""

CHANGED = {
    "a method twice": (
        "{name: finetune}",
        "{name: finetune}, {name: finetune}",
        "spec.methods: 'finetune' stands twice; give each entry a label of its own",
    ),
    "a label that is another's name": (
        "{name: finetune}",
        "{name: finetune}, {name: ssd, label: finetune}",
        "spec.methods: 'finetune' stands twice; give each entry a label of its own",
    ),
    "a reference as label": (
        "{name: finetune}",
        "{name: finetune, label: retrained}",
        "spec.methods: 'retrained' is always there as a reference; leave it out",
    ),
    "a reference as method": (
        "{name: finetune}",
        "{name: original}",
        "spec.methods: 'original' is always there as a reference; leave it out",
    ),
    "a method that is a number": (
        "[{name: finetune}]",
        "[3]",
        "spec.methods[0] is 3; it should be a mapping with the fields of MethodEntry",
    ),
    "a label with capitals": (
        "{name: finetune}",
        "{name: finetune, label: A b}",
        'spec.methods[0].label is "A b"; it should have small letters, digits, hyphens, underscores'
        " and dots, a letter or a digit first and last, such as 'a-b'",
    ),
    "no methods": (
        "[{name: finetune}]",
        "[]",
        "spec.methods is []; it should have at least 1 item",
    ),
    "no name": ("{name: digits}", "{}", "spec.dataset.name is required and was not given"),
    "params that are no mapping": (
        "{classes: [3]}",
        "3",
        "spec.scenarios[0].params is 3; it should be a valid dictionary",
    ),
    "another kind": (
        "kind: UnlearningExperiment",
        "kind: UnlearningExperiments",
        'kind is "UnlearningExperiments"; allowed: UnlearningExperiment; did you mean'
        " 'UnlearningExperiment'?",
    ),
    "another version": (
        "v1alpha1",
        "v1",
        'apiVersion is "supreme.dev/v1"; allowed: supreme.dev/v1alpha1; did you mean'
        " 'supreme.dev/v1alpha1'?",
    ),
    "a name that Kubernetes would refuse": (
        "{name: small}",
        "{name: Small}",
        'metadata.name is "Small"; it should have small letters, digits and hyphens, a letter first'
        " and no hyphen last, such as 'small'",
    ),
    "a name without a letter": (
        "{name: small}",
        "{name: '2026'}",
        'metadata.name is "2026"; it should have small letters, digits and hyphens, a letter first'
        " and no hyphen last",
    ),
    "a date as a field": (
        "{name: digits}",
        "{name: digits, 2020-01-01: 3}",
        'spec.dataset.datetime.date(2020, 1, 1) is "datetime.date(2020, 1, 1)"; Keys should be'
        " strings",
    ),
}
"""name: (what is taken out of the minimal experiment, what is put in, the whole message)."""


SECTIONS = sorted(field.alias for field in ExperimentSpec.model_fields.values())
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates()
KEYS = SCALARS | st.binary() | st.sampled_from(["name", "params", "list", "optimizer"])
ANYTHING = st.recursive(
    SCALARS | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
"""Every document that the safe loader can build."""


def experiment(text):
    return parse(UnlearningExperiment, *documents_of(text, source="small.yaml"))


def refused(text):
    with pytest.raises(SpecError) as error:
        experiment(text)
    return str(error.value)


class TestMessages:
    @pytest.mark.parametrize(("line", "message"), BAD.values(), ids=BAD)
    def test_a_bad_field_is_one_line(self, line, message):
        assert refused(MINIMAL + line) == message

    @pytest.mark.parametrize(("out", "put", "message"), CHANGED.values(), ids=CHANGED)
    def test_a_bad_value_is_one_line(self, out, put, message):
        assert MINIMAL.count(out) == 1
        assert refused(MINIMAL.replace(out, put)) == message

    @pytest.mark.parametrize("name", ["[", "a[b]", "int", "str"])
    def test_an_unknown_field_is_named_whatever_it_is_called(self, name):
        """pydantic puts such words into the place of a mistake, and they are left out elsewhere."""
        assert refused(f"{MINIMAL}  {name!r}: 1\n").startswith(
            f"spec.{name}: unknown field {name!r}"
        )
        assert refused(f"{name!r}: 1\n{MINIMAL}").startswith(f"{name}: unknown field {name!r}")

    def test_several_mistakes_are_a_line_each(self):
        text = MINIMAL.replace("digits", "''") + "  suspend: 1\n  seed: 3\n"
        assert [line.partition(" ")[0] for line in refused(text).splitlines()] == [
            "spec.dataset.name",
            "spec.suspend",
            "spec.seed:",
        ]

    def test_everything_that_is_missing_is_named(self):
        assert refused("{}").splitlines() == [
            f"{field} is required and was not given"
            for field in ("apiVersion", "kind", "metadata", "spec")
        ]

    def test_a_long_value_is_cut(self):
        message = refused(MINIMAL + "  suspend: " + "x" * 10_000)
        assert len(message) < 200
        assert '..."' in message or "...;" in message

    def test_dates_as_keys_of_a_section_that_lacks_its_name_are_no_problem(self):
        lines = refused(MINIMAL.replace("{name: digits}", "{2020-01-01: 3}")).splitlines()
        assert lines[0] == "spec.dataset.name is required and was not given"

    @settings(deadline=None)
    @given(st.sampled_from(SECTIONS), ANYTHING)
    def test_whatever_yaml_can_hold_only_a_spec_error_comes_out(self, field, value):
        (document,) = documents_of(MINIMAL, source="small.yaml")
        document["spec"][field] = value
        try:
            parse(UnlearningExperiment, document)
        except SpecError as error:
            message = str(error)
        else:
            return  # some of them are right by chance: null, a number, a truth
        assert message


class TestDefaults:
    def test_four_sections_are_enough(self):
        spec = experiment(MINIMAL).spec
        assert spec.seeds.values() == list(range(260, 270))
        assert (spec.training.epochs, spec.training.batch_size) == (8, 64)
        assert spec.training.micro_batches == 1
        assert spec.training.optimizer == Component(
            name="sgd", params={"lr": 0.1, "momentum": 0.9, "weightDecay": 5e-4}
        )
        assert spec.training.schedule.name == "constant"
        assert spec.primary_metric == "forget_accuracy"
        assert spec.metrics == []
        assert spec.execution.all_processes == 1

    @pytest.mark.parametrize("seeds", ["{}", "{start: 7}", "{count: 3}", "{list: [3, 0]}"])
    def test_what_is_written_out_reads_back_the_same(self, seeds):
        first = experiment(MINIMAL + f"  seeds: {seeds}")
        assert parse(UnlearningExperiment, first.to_document()) == first

    def test_only_what_was_given_can_be_written_out(self):
        document = experiment(MINIMAL).to_document(exclude_unset=True)
        assert [document] == documents_of(MINIMAL, source="small.yaml")

    def test_an_experiment_cannot_be_changed(self):
        with pytest.raises(ValueError, match="frozen"):
            experiment(MINIMAL).spec.suspend = True

    @pytest.mark.parametrize(
        ("execution", "processes"),
        [
            ("{}", 1),
            ("{gpusPerNode: 0}", 1),
            ("{gpusPerNode: 4}", 4),
            ("{nodes: 2, gpusPerNode: 4}", 8),
            ("{nodes: 2, gpusPerNode: 0, processesPerNode: 3}", 6),
        ],
    )
    def test_the_processes_of_a_child_are_those_of_all_nodes(self, execution, processes):
        spec = experiment(MINIMAL + f"  execution: {execution}").spec
        assert spec.execution.all_processes == processes

    @pytest.mark.parametrize(
        ("execution", "training", "shares"),
        [
            ("{gpusPerNode: 1}", "{}", False),
            ("{gpusPerNode: 2}", "{}", True),
            ("{nodes: 3}", "{microBatches: 4}", True),
            ("{gpusPerNode: 2}", "{microBatches: 4}", True),
            ("{gpusPerNode: 1}", "{microBatches: 4}", False),
            ("{gpusPerNode: 2}", "{reduction: ddp}", False),
            ("{gpusPerNode: 2, distribution: Stages}", "{microBatches: 4}", True),
            ("{gpusPerNode: 1, distribution: Stages}", "{}", True),
            ("{gpusPerNode: 2, distribution: Data}", "{}", False),
        ],
    )
    def test_processes_share_stages_unless_they_are_to_split_batches(
        self, execution, training, shares
    ):
        """A single one computes its own seed, as before there was a choice."""
        text = MINIMAL + f"  execution: {execution}\n  training: {training}"
        spec = experiment(text).spec
        assert spec.execution.shares_stages(spec.training) == shares

    @pytest.mark.parametrize(
        ("execution", "training", "forms"),
        [
            ("{}", "{}", False),
            ("{}", "{microBatches: 4}", True),
            ("{reuse: SameEnvironment}", "{microBatches: 4}", True),
            ("{reuse: None}", "{microBatches: 4}", False),
            ("{}", "{reduction: ddp}", False),
            ("{distribution: Stages}", "{microBatches: 4}", False),
            ("{distribution: Data}", "{microBatches: 4}", False),
        ],
    )
    def test_teams_are_formed_by_auto_where_batches_have_parts_and_checkpoints_are_kept(
        self, execution, training, forms
    ):
        text = MINIMAL + f"  execution: {execution}\n  training: {training}"
        spec = experiment(text).spec
        assert spec.execution.forms_teams(spec.training) == forms

    @pytest.mark.parametrize("cpu", ["1", "0.5", ".5", "2.", "500m", "1Gi", "2G", "3k"])
    def test_quantities_are_those_of_kubernetes(self, cpu):
        text = MINIMAL + f"  execution: {{resources: {{cpu: '{cpu}'}}}}"
        assert experiment(text).spec.execution.resources.cpu == cpu

    def test_seeds_may_be_listed(self):
        spec = experiment(MINIMAL + f"  seeds: {{list: [3, 0, {SEED_LIMIT}]}}").spec
        assert spec.seeds.values() == [3, 0, SEED_LIMIT]

    @pytest.mark.parametrize("count", [1, 2, 4, 8, 16, 32, 64])
    def test_powers_of_two_are_micro_batches(self, count):
        text = MINIMAL + f"  training: {{microBatches: {count}}}"
        assert experiment(text).spec.training.micro_batches == count

    def test_a_title_is_the_label_or_else_the_name(self):
        assert LabelledComponent(name="ssd").title == "ssd"
        assert LabelledComponent(name="ssd", label="mild").title == "mild"


def bomb(levels):
    """Each level holds the one before nine times: 9 to the power of `levels` values."""
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels + 1)]
    return "\n".join(lines)


def merge_bomb(levels):
    lines = ["a0: &a0 {x: 1}"]
    for i in range(1, levels + 1):
        lines.append(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}")
    return "\n".join(lines)


REFUSED_YAML = {
    "not YAML": ("a: b: c", "x.yaml, line 1, column 5 is not YAML: mapping values are not"),
    "open bracket": ("a: [1, 2", "x.yaml, line 1, column 9 is not YAML: expected ',' or ']'"),
    "a tab": ("a:\n\tb: 1", "x.yaml, line 2, column 1 is not YAML: found character '\\t'"),
    "undefined alias": ("a: *b", "x.yaml, line 1, column 4 is not YAML: found undefined alias"),
    "control character": ("a: \x01", "x.yaml is not YAML: unacceptable character #x0001"),
    "duplicate key": ("a: 1\nb: 2\na: 3", "x.yaml, line 3, column 1 is not YAML: the key 'a' is"),
    "duplicate key inside": ("a: {b: 1, b: 1}", "x.yaml, line 1, column 11 is not YAML: the key"),
    "list as a key": ("? [a]\n: b", "x.yaml, line 1, column 3 is not YAML: found unhashable key"),
    "cycle": ("a: &a [*a]", "x.yaml contains itself through a YAML alias"),
    "cycle of mappings": ("&a {b: {c: *a}}", "x.yaml contains itself through a YAML alias"),
    "merge cycle": ("a: &a {<<: *a}", "x.yaml contains itself through a YAML alias"),
    "billion laughs": (bomb(9), "x.yaml has more than 100000 values or 64 levels once"),
    "merge bomb": (merge_bomb(9), "x.yaml has more than 100000 values or 64 levels once"),
    "65 levels": ("[" * 65 + "]" * 65, "x.yaml has more than 100000 values or 64 levels once"),
    "100,000 levels": ("[" * 100_000, "x.yaml is not YAML: maximum recursion depth exceeded"),
    "python object": (
        "a: !!python/object:os.system {}",
        "x.yaml, line 1, column 4 is not YAML: could not determine a constructor",
    ),
    "python call": (
        "!!python/object/apply:os.system ['echo']",
        "x.yaml, line 1, column 1 is not YAML: could not determine a constructor",
    ),
    "python name": (
        "!!python/name:os.system ''",
        "x.yaml, line 1, column 1 is not YAML: could not determine a constructor",
    ),
    "unknown tag": ("!mine a", "x.yaml, line 1, column 1 is not YAML: could not determine"),
    "no truth": ("!!bool perhaps", "x.yaml is not YAML: a value does not fit its !!tag"),
    "no time": ("!!timestamp soon", "x.yaml is not YAML: a value does not fit its !!tag"),
    "no number": ("!!int ''", "x.yaml is not YAML: a value does not fit its !!tag"),
    "no mapping": ("!!map [a]", "x.yaml is not YAML: a value does not fit its !!tag"),
    "no day": ("a: 2020-13-01", "x.yaml is not YAML: month must be in 1..12"),
}


TAGS = ["int", "float", "bool", "null", "str", "timestamp", "binary", "seq", "map", "set", "omap"]
TAGS += ["pairs", "merge", "value"]


def complaint(text):
    """Return the error of a text, or nothing."""
    try:
        documents_of(text, source="x.yaml")
    except SpecError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("text", "read"), [("010", 8), ("+0_7", 7), ("1:30", 90), ("-01", -1), ("0:08.5", 8.5)]
)
def test_a_number_whose_digits_say_another_one_is_refused_wherever_it_stands(tmp_path, text, read):
    path = tmp_path / "small.yaml"
    path.write_text(f"{MINIMAL}  seeds: {{start: {text}}}\n")
    with pytest.raises(SpecError) as error:
        load_experiments(path)
    instead = f"{read}, or " if isinstance(read, int) else ""
    assert str(error.value) == (
        f"{path}: spec.seeds.start is written {text}, which YAML reads as the number {read}; write"
        f" {instead}'{text}' in quotes"
    )


class TestYaml:
    @pytest.mark.parametrize(("text", "message"), REFUSED_YAML.values(), ids=REFUSED_YAML)
    def test_what_is_no_plain_yaml_is_refused_in_one_line(self, text, message):
        with pytest.raises(SpecError) as error:
            documents_of(text, source="x.yaml")
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("a: [1, 0.5, yes, null, b]", {"a": [1, 0.5, True, None, "b"]}),
            ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
            (
                "a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}",
                {"a": {"b": 1, "c": 2}, "d": {"b": 3, "c": 2}},
            ),
            ("\ufeffa: 1", {"a": 1}),
            ("[5e-4, 1E3, -2e+2, 5.0e-4]", [0.0005, 1000.0, -200.0, 0.0005]),
            ("[12e, e4, 0x1e4, a5e-4]", ["12e", "e4", 0x1E4, "a5e-4"]),
            ("[12e45ab, 1e5-run, 5e-4f]", ["12e45ab", "1e5-run", "5e-4f"]),
            ("[1_000, 1_000.5, .5e-3, 1.e-4]", [1000, 1000.5, 0.0005, 0.0001]),
            ("größe: 日本\n'é 😀': ü", {"größe": "日本", "é 😀": "ü"}),
            ("%YAML 1.2\n---\na: 1\n...\n", {"a": 1}),
        ],
        ids=[
            "values",
            "alias",
            "merge",
            "byte order mark",
            "exponents without a dot",
            "no exponents",
            "texts that begin as an exponent",
            "other numbers",
            "unicode",
            "directive and end",
        ],
    )
    def test_plain_yaml_is_read(self, text, value):
        assert documents_of(text, source="x.yaml") == [value]

    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("", []),
            ("# nothing\n", []),
            ("---\n---\n", []),
            ("a: 1\n---\nb: 2\n---\n", [{"a": 1}, {"b": 2}]),
            ("---\na: &x 1\n...\n# between\n---\nb: &x 2\nc: *x", [{"a": 1}, {"b": 2, "c": 2}]),
        ],
        ids=["empty", "comment", "marks", "two documents", "aliases of their own"],
    )
    def test_documents_that_hold_nothing_are_left_out(self, text, values):
        assert documents_of(text, source="x.yaml") == values

    def test_64_levels_are_allowed(self):
        (found,) = documents_of("[" * 64 + "]" * 64, source="x.yaml")
        for _ in range(63):
            (found,) = found
        assert found == []

    @settings(deadline=None, max_examples=300)
    @given(st.text() | st.text(alphabet="ab01:-?,[]{}&*!|>'\"%@#=<~.+_ \t\n", max_size=40))
    @example("!!set {a, a}")
    @example("!!float ''")
    @example("!!binary x")
    @example("\ud800")
    @example("? !!timestamp x\n: 1")
    @example("- !!int +")
    def test_nothing_but_a_spec_error_of_one_line_comes_out_of_any_text(self, text):
        assert "\n" not in complaint(text)

    @pytest.mark.parametrize("tag", TAGS)
    def test_no_tag_with_any_value_raises_anything_else(self, tag):
        for value in ("x", "''", "[]", "{}", "[a]", "{a: 1}", "1", "1:2", "_", "+", "[[a]]"):
            for text in (f"!!{tag} {value}", f"a: !!{tag} {value}", f"? !!{tag} {value}\n: 1"):
                assert "\n" not in complaint(text)


class TestFiles:
    def test_an_experiment_is_read(self, tmp_path):
        path = tmp_path / "small.yaml"
        path.write_text(MINIMAL)
        (found,) = load_experiments(path)
        assert found.experiment == experiment(MINIMAL)
        assert found.source == str(path)

    @pytest.mark.parametrize(
        "file",
        [
            MINIMAL.replace("\n", "\r\n"),
            "\ufeff" + MINIMAL,
            "\ufeff---\r\n" + MINIMAL.replace("\n", "\r\n"),
            "# größe\n%YAML 1.2\n---\n" + MINIMAL + "...\n",
            MINIMAL.rstrip(),
            MINIMAL.replace("[{name: finetune}]", "\n  - &it {name: finetune}"),
        ],
        ids=["CRLF", "BOM", "both", "directive and marks", "no last line end", "anchor"],
    )
    def test_whatever_an_editor_makes_of_it_the_experiment_is_the_same(self, tmp_path, file):
        path = tmp_path / "small.yaml"
        path.write_bytes(file.encode())
        (found,) = load_experiments(path)
        assert found.experiment == experiment(MINIMAL)

    @pytest.mark.parametrize(
        ("old", "new", "line"),
        [("  dataset", "\tdataset", 5), ("spec:", "spec:\t", 4), ("kind: ", "kind:\t", 2)],
    )
    def test_a_tab_is_told_with_its_line(self, tmp_path, old, new, line):
        path = tmp_path / "small.yaml"
        path.write_text(MINIMAL.replace(old, new))
        with pytest.raises(SpecError) as error:
            load_experiments(path)
        assert str(error.value).startswith(f"{path}, line {line}, column ")
        assert "found character '\\t'" in str(error.value)

    def test_json_is_yaml(self, tmp_path):
        path = tmp_path / "small.json"
        path.write_text(experiment(MINIMAL).model_dump_json(by_alias=True, exclude_none=True))
        (found,) = load_experiments(path)
        assert found.experiment == experiment(MINIMAL)
        assert found.source == str(path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "{path} holds nothing, not an UnlearningExperiment"),
            (b"- a\n- b\n", "{path} holds a list, not an UnlearningExperiment"),
            (b"just words", "{path} holds a str, not an UnlearningExperiment"),
            (b"\x89PNG\r\n\x1a\n\x00\xff", "{path} is not a UTF-8 text file"),
            (b"#" * (2 * MAX_BYTES), "{path} is larger than 1048576 bytes; it is no experiment"),
            (
                b"a: b: c",
                "{path}, line 1, column 5 is not YAML: mapping values are not allowed here",
            ),
        ],
        ids=["empty", "list", "words", "binary", "2 MB", "not YAML"],
    )
    def test_a_file_that_holds_no_experiment_is_named(self, tmp_path, content, message):
        path = tmp_path / "some.yaml"
        path.write_bytes(content)
        with pytest.raises(SpecError) as error:
            load_experiments(path)
        assert str(error.value) == message.format(path=path)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(SpecError) as error:
            load_experiments(tmp_path / "none.yaml")
        assert (
            str(error.value) == f"cannot read {tmp_path / 'none.yaml'}: No such file or directory"
        )

    def test_a_folder_is_no_file(self, tmp_path):
        with pytest.raises(SpecError, match="it is a folder, not a file"):
            load_experiments(tmp_path)

    def test_each_line_of_a_message_begins_with_the_file(self, tmp_path):
        path = tmp_path / "some.yaml"
        path.write_text(MINIMAL + "  suspend: 1\n  seed: 3\n")
        with pytest.raises(SpecError) as error:
            load_experiments(path)
        lines = str(error.value).splitlines()
        assert len(lines) == 2
        assert all(line.startswith(f"{path}: spec.") for line in lines)

    def test_a_file_may_hold_several(self, tmp_path):
        path = tmp_path / "two.yaml"
        path.write_text("---\n" + MINIMAL + "---\n" + MINIMAL.replace("small", "other") + "---\n")
        found = load_experiments(path)
        assert [each.experiment.metadata.name for each in found] == ["small", "other"]
        assert [each.source for each in found] == [f"{path}, document {n}" for n in (1, 2)]

    def test_a_message_names_the_document(self, tmp_path):
        path = tmp_path / "two.yaml"
        path.write_text(MINIMAL + "---\n" + MINIMAL.replace("small", "other") + "  suspend: 1\n")
        with pytest.raises(SpecError) as error:
            load_experiments(path)
        assert str(error.value).startswith(f"{path}, document 2: spec.suspend is 1")

    def test_no_two_have_one_name(self, tmp_path):
        path = tmp_path / "two.yaml"
        path.write_text(MINIMAL + "---\n" + MINIMAL)
        with pytest.raises(SpecError) as error:
            load_experiments(path)
        assert str(error.value) == (
            f"{path}, document 2: metadata.name is 'small', as in {path}, document 1"
        )


class TestJson:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"{", "x.json is not JSON: "),
            (b"\xff", "x.json is not JSON: "),
            (b"[" * 100_000, "x.json is not JSON: "),
            (b"[]", "x.json: "),
            (b'{"name": "a", "parms": {}}', "x.json: parms: unknown field 'parms'; did you mean"),
        ],
        ids=["cut short", "no text", "nested deeply", "list", "unknown field"],
    )
    def test_what_cannot_be_read_is_named_by_its_source(self, data, message):
        with pytest.raises(SpecError) as error:
            parse_json(Component, data, source="x.json")
        assert str(error.value).startswith(message)
