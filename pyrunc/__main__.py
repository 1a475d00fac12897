"""`python -m pyrunc`."""

from pyrunc.cli import main
from pyrunc.start import finish

finish(main())
