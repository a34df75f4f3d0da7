"""Forget people: every sample of some identities, while their classes stay."""

from pydantic import Field

from supreme_core.data.split import Labels, Split, by_identity, class_numbers
from supreme_core.errors import SpecError
from supreme_core.registry import Params, scenario


class IdentityParams(Params):
    identities: list[int | str] = Field(
        min_length=1, max_length=1000, description="Identities to forget, by number or by name."
    )


@scenario(forgets="samples")
def identity(labels: Labels, seed: int, params: IdentityParams) -> Split:
    """Forget all samples of some identities; the test samples of these, if any, are held out.

    The task of Choi and Na 2023, arXiv:2311.02240. Where every class is one identity, as in pins,
    it is full_class that forgets one.
    """
    if labels.train_identities is None:
        raise SpecError(
            "the dataset knows no identities, as image_folder does with identities: true; where"
            " every class is one, use full_class"
        )
    return by_identity(
        labels, class_numbers(params.identities, labels.identity_names, kind="identity")
    )
