"""`python -m corten`, and the file that the launcher runs: `python -I -S src/corten/__main__.py`. Kept tiny, since
Python does not cache the bytecode of the file it is started with."""

import sys

if not __package__:
    sys.path.insert(0, __file__[: -len("/corten/__main__.py")] or ".")

if __name__ == "__main__":
    from corten.cli.main import run_and_exit

    run_and_exit()
