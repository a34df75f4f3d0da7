"""The command `supreme-operator`: the operator, or what to install where its extra is missing."""

from supreme_core.system.ending import ending


def main() -> None:
    with ending():
        from supreme_operator import main as operator  # imports what the extra installs

        operator.main()
