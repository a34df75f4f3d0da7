from typing import Final

from supreme_core.library.evaluation import evaluate as evaluate
from supreme_core.library.results import Results as Results
from supreme_core.library.results import load as load
from supreme_core.library.unlearning import unlearn as unlearn

DISTRIBUTION: Final[str]
