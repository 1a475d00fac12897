"""What a requirement and a case are, and how observations become a requirement's status.

A case observes the requirements it declares and says nothing of others. A requirement is met only by an
observation that was made and was good; nothing is met by default.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from conformance.box import Box

MET = "met"
VIOLATED = "violated"
NOT_APPLICABLE = "not applicable"
UNTESTED = "untested"
STATUSES = (MET, VIOLATED, NOT_APPLICABLE, UNTESTED)
LEVELS = ("MUST", "SHOULD", "ENGINE")  # MUST NOT and SHOULD NOT count as what they begin with
NOT_SELECTED = "no case that observes it was selected"


class RuntimeFailed(Exception):
    """The runtime did not do what the specification demands: the case cannot go on."""


class NotApplicable(Exception):
    """This machine cannot show what the case is about; the text says why."""


class Requirement(NamedTuple):
    """One demand of the specification, in the suite's own words.

    `level` is MUST or SHOULD (with NOT where it says so), or ENGINE for what is no requirement of the
    specification but of those who call runtimes. `since` is the version of the specification that brought it,
    if that is after 1.0. `untestable` says why no case can observe it.
    """

    id: str
    section: str
    level: str
    since: str
    text: str
    untestable: str = ""

    @property
    def mandatory(self) -> bool:
        return self.level.startswith("MUST")


class Observation(NamedTuple):
    """What a case says of one requirement; `detail` is the reason of everything but MET."""

    requirement: str
    case: str
    status: str
    detail: str


class Case(NamedTuple):
    name: str
    requirements: tuple[str, ...]
    function: "Callable[[Box], None]"


CASES: list[Case] = []


def case(*requirements: str) -> "Callable[[Callable[[Box], None]], Callable[[Box], None]]":
    """Register a function as the case that observes these requirements; its name is the case's."""

    def register(function: "Callable[[Box], None]") -> "Callable[[Box], None]":
        CASES.append(Case(function.__name__.replace("_", "-"), requirements, function))
        return function

    return register


def status(requirement: Requirement, observations: Iterable[Observation]) -> tuple[str, str]:
    """The requirement's status and, unless it is met, the reason."""
    mine = [seen for seen in observations if seen.requirement == requirement.id]
    for wanted in (VIOLATED, UNTESTED, MET, NOT_APPLICABLE):
        details = [seen.detail for seen in mine if seen.status == wanted]
        if details:
            return wanted, "" if wanted == MET else "; ".join(dict.fromkeys(details))
    return UNTESTED, requirement.untestable or NOT_SELECTED


def check_table(requirements: Sequence[Requirement], cases: Sequence[Case]) -> list[str]:
    """Faults of the table itself: what it says must be observable, and every case must be about something."""
    faults = []
    ids = [requirement.id for requirement in requirements]
    names = [each.name for each in cases]
    faults += [f"{id} is there twice" for id in sorted({id for id in ids if ids.count(id) > 1})]
    faults += [f"case {name} is there twice" for name in sorted({n for n in names if names.count(n) > 1})]
    observed = {id for each in cases for id in each.requirements}
    faults += [f"{id} is observed by a case but is not in the table" for id in sorted(observed - set(ids))]
    faults += [f"case {each.name} observes nothing" for each in cases if not each.requirements]
    for requirement in requirements:
        if bool(requirement.untestable) == (requirement.id in observed):
            faults.append(f"{requirement.id} needs either a case or a reason why it has none")
        if requirement.level not in ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "ENGINE"):
            faults.append(f"{requirement.id} has the level {requirement.level}")
    return faults
