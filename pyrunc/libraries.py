"""Makes third-party libraries importable, where their work is asked for.

The `pyrunc` command starts the interpreter with -I -S, which leaves the site directories out of
the module path and saves their cost for every verb that needs only pyrunc itself.
"""

import sys


def enable() -> None:
    """Adds the site directories (of the virtual environment, if any) to the module path."""
    if sys.flags.no_site and "site" not in sys.modules:
        import site

        site.main()
