"""``python -m thinned``: the ``thinned`` command, which ``thinned_cli`` holds."""

from thinned_cli.main import main

if __name__ == "__main__":
    main()
