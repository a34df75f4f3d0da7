"""Tables to paste: LaTeX for a paper, Markdown for an issue, CSV for a spreadsheet. Pure.

Labels and names of metrics are foreign text, and stay text in every format.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, groupby, pairwise
from textwrap import wrap

from supreme_core.analysis import statistics
from supreme_core.analysis.files import harmless
from supreme_core.api.summary import LeftOut, TuningSummary
from supreme_core.errors import SpecError, number_of, one_line, quoted
from supreme_core.registry import unknown
from supreme_core.report import cells, contrasts, tables, tuning, words
from supreme_core.report.cells import TableCell
from supreme_core.report.choices import FORMATS, FRONT, PAIRS, PRIMARY, RANKS, TUNING, VERDICTS
from supreme_core.report.tables import Column, IndexedSummary, Table, TableLine

FEW_COLUMNS = 5
WITH_INTERVAL = ("estimate", "gap", "apart")
INTERVAL = f"{statistics.LEVEL * 100:g} % interval"


@dataclass(frozen=True)
class Layout:
    """Room of a LaTeX table in a paper.

    columns: columns of the page that it spans. In one, intervals stand below their numbers; in two,
    beside them.  width: a length of LaTeX that it is shrunk to where it is wider; None for all that
    there is.
    """

    columns: int = 1
    width: str | None = None

    def __post_init__(self) -> None:
        if self.width is not None and not LENGTH.fullmatch(self.width):
            raise SpecError(
                f"the width of a table is {quoted(self.width)}; it is a length of LaTeX, such as"
                r" 3.25in or 0.9\textwidth"
            )


LENGTH = re.compile(
    r"(?!0*\.?0+[^\d.])"  # to no width nothing can be shrunk
    r"(\d*\.?\d+(pt|mm|cm|in|em|ex|bp|pc)|(\d*\.?\d+)?\\(line|column|text)width)",
    re.ASCII,
)


ANYWHERE = Layout()


@dataclass(frozen=True)
class Sheet:
    """One table of one scenario.  name: letters, digits and hyphens, its own among experiments."""

    name: str
    scenario: str
    caption: str
    table: Table


def choices(indexed: IndexedSummary) -> list[str]:
    """The names of the tables that the experiment has; after the first few, its metrics' groups."""
    scenarios = indexed.scenarios
    groups = [name for each in scenarios for name in tables.group_names(indexed, each)]
    there = {
        VERDICTS: any(tables.verdicts(indexed, each) for each in scenarios),
        PRIMARY: True,
        PAIRS: bool(indexed.summary.comparisons),
        RANKS: any(each.ranking.ranks for each in contrasts.rankings(indexed)),
        FRONT: any(contrasts.front(indexed, each) for each in scenarios),
        TUNING: bool(indexed.summary.tuning and indexed.summary.tuning.searches),
    }
    return [*(name for name, has in there.items() if has), *dict.fromkeys(groups)]


def paste(indexed: IndexedSummary, choice: str, form: str, *, layout: Layout | None = None) -> str:
    """The table of that name in one of `FORMATS`, for every scenario; SpecError without such one.

    It ends in a line break.  layout: of LaTeX.
    """
    known = choices(indexed)
    if choice not in known:
        raise SpecError(unknown("table", choice, dict.fromkeys(known)))
    found = sheets(indexed, choice)
    return latex(found, layout) if layout else WRITERS[form](found)


def sheets(indexed: IndexedSummary, choice: str) -> list[Sheet]:
    """Tables of that name, each caption with how settings were chosen, where they were."""
    found = indexed.summary.tuning
    if choice == TUNING and found:
        return list(_tuning(indexed, found))
    made = _ranks(indexed) if choice == RANKS else _by_scenario(indexed, choice)
    return [
        replace(sheet, caption=f"{sheet.caption} {indexed.on_tuning}") if found else sheet
        for sheet in made
    ]


def latex(sheets: Sequence[Sheet], layout: Layout = ANYWHERE) -> str:
    """The tables with booktabs, and comments that say what the preamble needs."""
    packages = ["booktabs", "adjustbox", *(["graphicx"] if any(map(_turned, sheets)) else [])]
    drawn = [_latex_table(sheet, layout) for sheet in sheets]
    needs = [rf"% in the preamble: \usepackage{{{','.join(packages)}}}"]
    if any(ord(letter) > LATIN for table in drawn for letter in table):
        needs.append("% for XeLaTeX or LuaLaTeX, with a font that has the letters of the labels")
    return "\n".join([*needs, *drawn])


LATIN = 0x17F
"""Last letter that every LaTeX sets."""


def markdown(sheets: Iterable[Sheet]) -> str:
    """The tables, each below its caption."""
    return "\n".join(map(_markdown_table, sheets))


def latex_text(text: str) -> str:
    """Foreign text as LaTeX prints it, wherever it stands: also at the beginning of a table's row.

    Letters stay what they are, so those beyond Latin need XeLaTeX or LuaLaTeX and a font.
    """
    escaped = one_line(text, limit=10_000).translate(LATEX)
    return re.sub(r"([-',])(?=\1)", r"\1{}", escaped)  # which would become one longer character


def markdown_text(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|~&$#])", r"\\\1", one_line(text, limit=10_000))


LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\symbol{34}",
        **{each: rf"\{each}" for each in "{}$&#%_"},
        **{each: f"{{{each}}}" for each in "[]*`"},  # \\ of the row before reads * and [
        cells.MINUS: "$-$",
        cells.NONE: r"\textendash{}",
        "×": r"$\times$",
        "±": r"$\pm$",
        "≈": r"$\approx$",
        "≠": r"$\neq$",
        "χ": r"$\chi$",
        "²": r"$^2$",
    }
)


def _ranks(indexed: IndexedSummary) -> Iterator[Sheet]:
    """Ranks of the whole experiment, by track."""
    for each in contrasts.rankings(indexed):
        found, table = each.ranking, contrasts.ranks(each.ranking)
        if table is None:
            continue
        blocks = ", ".join(found.blocks)
        of = f"{words.headline(each.of)}, mean" if each.of else "Mean"
        caption = (
            f"{of} rank by distance to Retrained in {cells.row_title(found.metric)} over {blocks}"
            f" (1 is nearest){_without(found.left_out)}; score: interquartile mean of 1 -"
            f" distance / Original's; each with its {INTERVAL} over"
            f" {number_of(found.seeds, 'training seed')}."
        )
        yield Sheet(_name(indexed, each.name), "all", f"{_data(indexed)}. {caption}", table)


def _tuning(indexed: IndexedSummary, found: TuningSummary) -> Iterator[Sheet]:
    """Gains of tuning, by the objective."""
    for place, scenario in enumerate(tuning.scenarios(found), 1):
        table = tuning.gains(found, scenario)
        caption = (
            f"{_data(indexed)}; {indexed.title(scenario)}. Gain: objective of the given settings"
            f" minus that of the chosen ones, with its {INTERVAL}; luck: objective of the chosen"
            " ones on final seeds minus that on tuning seeds; less is better."
        )
        if found.final_lack:
            caption += f" No gain on final seeds is known: {found.final_lack}."
        text = " ".join((caption, tuning.how(found), *table.remarks))
        yield Sheet(_name(indexed, f"tuning {place}"), scenario, text, table)


def _by_scenario(indexed: IndexedSummary, choice: str) -> Iterator[Sheet]:
    for place, scenario in enumerate(indexed.scenarios, 1):
        for number, (caption, table) in enumerate(_tables(indexed, scenario, choice), 1):
            about = f"{_data(indexed)}; {indexed.title(scenario)}"
            name = _name(indexed, f"{choice} {place} {number}")
            yield Sheet(name, scenario, f"{about}. {caption}", table)


def _name(indexed: IndexedSummary, table: str) -> str:
    """Name of a table among those of all experiments, two of which may have one name."""
    experiment = indexed.summary.experiment
    text = f"{experiment.name} {experiment.digest[:6]} {table}"
    return "-".join(re.findall("[a-z0-9]+", text.lower()))


def _data(indexed: IndexedSummary) -> str:
    """Data set and model: digits, resnet18 (width 16)"""
    work = indexed.provenance.work
    return f"{words.component(work.dataset)}, {words.component(work.model)}"


def _tables(indexed: IndexedSummary, scenario: str, choice: str) -> Iterator[tuple[str, Table]]:
    """Captions and tables of one scenario."""
    seeds = tables.seeds(indexed)
    if choice == PRIMARY:
        yield _of_primary(indexed, scenario), tables.headline(indexed, scenario)
    elif choice == VERDICTS:
        symbols = ", ".join(f"{symbol} {word}" for word, symbol in cells.SYMBOLS.items())
        if table := tables.verdicts(indexed, scenario):
            caption = f"Verdicts of {seeds} on the gap to the model retrained for the same seed"
            both = "rows different by themselves, and after correction over rows and methods"
            margins = "; ".join(
                f"{cells.row_title(metric)} {tables.margin(indexed, scenario, metric)}"
                for metric in indexed.metrics(scenario)
                if indexed.facts[metric].has_gap
            )
            caption += f": {symbols}; {both}. Margins: {margins}."
            yield " ".join((caption, *table.remarks)), table
    elif choice == PAIRS:
        if table := contrasts.pairs(indexed, scenario):
            primary = cells.row_title(indexed.primary)
            caption = f"Distances to Retrained in {primary}, the nearer method first: mean"
            caption += (
                f" difference with its {INTERVAL}, share of seeds, p of the paired t test and"
            )
            caption += " of sign flips."
            lines = contrasts.untested(indexed, scenario)
            yield " ".join((caption, *(f"Not tested: {line}." for line in lines))), table
    elif choice == FRONT:
        if found := contrasts.front(indexed, scenario):
            caption = f"Mean distance to Retrained and cost, with their {INTERVAL} over {seeds}"
            caption += f"{_without(found.left_out)}."
            yield caption, contrasts.front_table(indexed, found)
    elif choice in tables.group_names(indexed, scenario):
        group = tables.group(indexed, scenario, choice)
        for table in group.tables:
            title = f"{group.title}, {table.title}" if table.title else group.title
            caption = f"{title}: mean with its {INTERVAL} over {seeds}."
            yield " ".join((caption, *table.remarks)), table


def _without(methods: Sequence[LeftOut]) -> str:
    return f"; left out: {'; '.join(contrasts.left_out(methods))}" if methods else ""


def _of_primary(indexed: IndexedSummary, scenario: str) -> str:
    title = cells.row_title(indexed.primary)
    gap = " and its gap to the model retrained for the same seed, each"
    gap = gap if indexed.facts[indexed.primary].has_gap else ""
    caption = f"{words.headline(title)}{gap} with its unadjusted {INTERVAL} over n training seeds."
    if gap:
        caption += f" Margin of equivalence: {tables.margin(indexed, scenario, indexed.primary)}."
    remarks = tables.remarks(indexed, scenario, indexed.primary)
    return " ".join((caption, *remarks, *tables.collapsed(indexed, scenario)))


def _latex_table(sheet: Sheet, layout: Layout) -> str:
    columns, beside = sheet.table.columns, layout.columns > 1
    heads = [_latex_head(_head(column), sheet, beside=beside) for column in columns]
    places = "".join({"verdict": "c", "text": "l"}.get(column.kind, "r") for column in columns)
    environment = "table*" if beside else "table"
    lines = [
        rf"\begin{{{environment}}}",
        r"\centering",
        r"\small",
        rf"\caption{{{latex_text(sheet.caption)}}}",
        rf"\label{{tab:{sheet.name}}}",
        rf"\begin{{adjustbox}}{{max width={layout.width or WIDEST}, max totalheight={HIGHEST}}}",
        rf"\begin{{tabular}}{{@{{}}l{places}@{{}}}}",
        r"\toprule",
        *_latex_groups(sheet.table),
        _latex_row([sheet.table.head, *heads]),
    ]
    for block in _blocks(sheet.table):
        lines.append(r"\midrule")
        for line in block:
            lines += _latex_line(line, columns, beside=beside)
    ends = (r"\bottomrule", r"\end{tabular}", r"\end{adjustbox}", rf"\end{{{environment}}}", "")
    return "\n".join([*lines, *ends])


WIDEST, HIGHEST = r"\linewidth", r"0.7\textheight"
"""Lengths to which a table is shrunk: its columns, and a page with room for the caption."""


def _latex_head(head: str, sheet: Sheet, *, beside: bool) -> str:
    """A head on one line, upright, or in lines as wide as its longest word."""
    if _turned(sheet):
        return rf"\rotatebox{{90}}{{{latex_text(head)}}}"
    lines = wrap(head, max(map(len, head.split())), break_on_hyphens=False)
    if beside or len(lines) == 1:
        return latex_text(head)
    return rf"\shortstack[r]{{{NEXT.join(map(latex_text, lines))}}}"


NEXT = r"\\"


def _latex_line(line: TableLine, columns: Sequence[Column], *, beside: bool) -> Iterator[str]:
    """A row, and unless intervals stand beside their numbers one more with them."""
    pairs = list(zip(line.cells, columns, strict=True))
    texts = [latex_text(cell.text) for cell, _ in pairs]
    notes = [_below(cell, column, latex_text) for cell, column in pairs]
    small = [rf"{{\scriptsize {note}}}" if note else "" for note in notes]
    if beside:
        texts = [f"{text} {note}".rstrip() for text, note in zip(texts, small, strict=True)]
    yield _latex_row((latex_text(line.title), *texts))
    if any(small) and not beside:
        yield _latex_row(("", *small))


def _latex_groups(table: Table) -> Iterator[str]:
    """A row above the heads, with a rule below each title."""
    if not table.groups:
        return
    titles = [rf"\multicolumn{{{n}}}{{c}}{{{latex_text(title)}}}" for title, n in table.groups]
    yield _latex_row(["", *titles])
    ends = list(accumulate((n for _, n in table.groups), initial=1))
    spans = zip(table.groups, pairwise(ends), strict=True)
    yield " ".join(
        rf"\cmidrule(lr){{{start + 1}-{end}}}" for (title, _), (start, end) in spans if title
    )


def _latex_row(texts: Iterable[str]) -> str:
    return " & ".join(texts) + r" \\"


def _turned(sheet: Sheet) -> bool:
    """Return whether headings stand upright: those of many columns that hold a symbol or a count
    each."""
    columns = sheet.table.columns
    short = ("verdict", "count")
    return len(columns) > FEW_COLUMNS and all(column.kind in short for column in columns)


def _markdown_table(sheet: Sheet) -> str:
    columns = sheet.table.columns
    rules = [":---:" if column.kind == "verdict" else "---:" for column in columns]
    titles = (f"{c.group}: {_head(c)}" if c.group else _head(c) for c in columns)
    heads = [markdown_text(head) for head in (sheet.table.head, *titles)]
    lines = [
        markdown_text(sheet.caption),
        "",
        _markdown_row(heads),
        _markdown_row([":---", *rules]),
    ]
    for line in chain.from_iterable(_blocks(sheet.table)):
        pairs = zip(line.cells, columns, strict=True)
        shown = (_markdown_cell(*pair) for pair in pairs)
        lines.append(_markdown_row([markdown_text(line.title), *shown]))
    return "\n".join([*lines, ""])


def _markdown_cell(cell: TableCell, column: Column) -> str:
    return f"{markdown_text(cell.text)} {_below(cell, column, markdown_text)}".rstrip()


def _markdown_row(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _csv(sheets: Sequence[Sheet]) -> str:
    """One line for each scenario and method, with the columns of all sheets.

    The ends of an interval have columns of their own.
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    for sheet in sheets:
        for line in chain.from_iterable(_blocks(sheet.table)):
            values = found.setdefault((sheet.scenario, line.title), {})
            for cell, column in zip(line.cells, sheet.table.columns, strict=True):
                values.update(_csv_values(cell, column))
    first = sheets[0].table.head if sheets else "method"
    heads = dict.fromkeys(head for values in found.values() for head in values)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["scenario", first, *map(harmless, heads)])
    for names, values in found.items():
        writer.writerow([*map(harmless, names), *(values.get(head, "") for head in heads)])
    return buffer.getvalue()


def _csv_values(cell: TableCell, column: Column) -> Iterator[tuple[str, str]]:
    head = _head(column, column.name)
    yield head, _csv_number(cell.text)
    if column.kind in WITH_INTERVAL:
        low, high = cell.ends or ("", "")
        yield f"{head}, low", _csv_number(low)
        yield f"{head}, high", _csv_number(high)


def _csv_number(text: str) -> str:
    return text.replace(cells.MINUS, "-").removeprefix("+") if text != cells.NONE else ""


WRITERS: Mapping[str, Callable[[Sequence[Sheet]], str]] = dict(
    zip(FORMATS, (latex, markdown, _csv), strict=True)
)


def _blocks(table: Table) -> Iterator[Sequence[TableLine]]:
    """The references, the methods and the noise floor, as far as the table has them."""
    for _, lines in groupby(table.lines, key=lambda line: line.role == "method"):
        yield list(lines)
    if table.floor:
        yield [TableLine(tables.FLOOR_TITLE, "retrained", table.floor)]


def _head(column: Column, title: str = "") -> str:
    title = title or column.title
    return f"{title} ({column.unit})" if column.unit else title


def _below(cell: TableCell, column: Column, escaped: Callable[[str], str]) -> str:
    """The brackets of an interval are ours and not escaped.

    A verdict's margin is left out: it is the same in each line, so that the caption has it.
    """
    if cell.ends:
        return f"[{escaped(cell.ends[0])}, {escaped(cell.ends[1])}]"
    return f"({escaped(cell.note)})" if cell.note and column.kind != "verdict" else ""
