"""Write the files that are generated from code, or check that they are up to date.

python -m tools.generate [--check]
"""

import sys

from tools.generate.generated import generated, stale


def main() -> int:
    if "--check" in sys.argv[1:]:
        for path in (found := stale()):
            print(f"{path} is not what the code says; run make generate", file=sys.stderr)
        return 1 if found else 0
    for path, content in generated().items():
        path.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
