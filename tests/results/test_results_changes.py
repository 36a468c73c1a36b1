"""What stayed in a child: the record, and how the report says it."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest

from ipc_magic.errors import IpcMagicError
from ipc_magic.render import html
from ipc_magic.results import Changes, ChildRun, InProcess, Setting

SETTING = Setting(
    python="3.11.7", system="Linux 6.18", start_method="fork", parent_threads=1
)


def result(*changes: Changes | None, **fields: Any) -> InProcess:
    children = tuple(
        ChildRun(
            index=index,
            pid=4711 + index,
            start_method="fork",
            ending=fields.pop("ending", "finished"),
            run_seconds=1.0,
            changes=each,
        )
        for index, each in enumerate(changes)
    )
    return InProcess(children=children, setting=SETTING, **fields)


def below(of: InProcess) -> str:
    """Return the short report below its headline, on one line."""
    text = str(of.report("short"))
    page = re.sub("(?s)<style>.*?</style>|<[^>]*>", "", html.render(of.document()))
    said = " ".join(text.split())
    assert said.replace("`", "") in " ".join(unescape(page).replace("`", "").split())
    return said.removeprefix(" ".join(of.headline.split())).strip()


ONE = "in the child; yours is as before."
MANY = "in the child; yours are as before."
ALL = "Bring them: -o '*'"
LEFT = "Made in the child and left there:"
WORDS = [
    (Changes(), ""),
    (Changes(mutated=("cache",)), f"`cache` was changed {ONE}"),
    (Changes(rebound=("n",)), f"`n` was changed {ONE}"),
    (Changes(mutated=("a",), rebound=("b",)), f"`a` and `b` were changed {MANY}"),
    (Changes(deleted=("a", "b", "c")), f"`a`, `b` and `c` were deleted {MANY}"),
    (Changes(created=("model",)), f"{LEFT} `model`. Bring it: -o model"),
    (
        Changes(created=("model", "hist")),
        f"{LEFT} `model` and `hist`. Bring them: -o model,hist",
    ),
    (
        Changes(created=("model", "math"), modules=("math",)),
        f"{LEFT} `model`. Bring it: -o model",
    ),
    (Changes(created=("math",), modules=("math",)), ""),
    (Changes(unchecked=("big",)), ""),
    (
        Changes(created=tuple(f"name_{n}" for n in range(50))),
        f"{LEFT} `name_0`, `name_1`, `name_2`, `name_3` and 46 more. {ALL}",
    ),
    (
        Changes(created=tuple(f"name_{n}" for n in range(50)), others=9),
        f"{LEFT} `name_0`, `name_1`, `name_2`, `name_3` and at least 46 more. {ALL}",
    ),
    (
        Changes(created=("a b\n\x1b[31m", "c")),
        f"{LEFT} `a b` and `c`. Bring them: -o '*'",
    ),
]


@pytest.mark.parametrize(("changes", "words"), WORDS)
def test_the_short_report_says_what_stayed(changes: Changes, words: str) -> None:
    assert below(result(changes)) == words


@pytest.mark.parametrize(("changes", "words"), WORDS)
def test_all_is_in_the_full_report(changes: Changes, words: str) -> None:
    said = str(result(changes).details())
    for name in (*changes.created, *changes.mutated, *changes.unchecked):
        assert "\x1b" in name or f"`{name}`" in said
    assert "Not checked for changes: `big`." in said or not changes.unchecked


def test_what_was_asked_is_not_told() -> None:
    changes = Changes(
        created=("a", "b"), rebound=("c", "d"), mutated=("e",), deleted=("f",)
    )
    assert below(result(changes, asked=("a", "c"))) == (
        f"`e` and `d` were changed {MANY} `f` was deleted {ONE} {LEFT} `b`. "
        "Bring it: -o b"
    )
    assert below(result(changes, asked=("*",))) == (
        f"`e` was changed {ONE} `f` was deleted {ONE}"
    )
    assert below(result(changes, asked=("*", "e"))) == f"`f` was deleted {ONE}"


def test_several_children_are_told_together() -> None:
    case = result(
        Changes(created=("a",), unchecked=("x",)), Changes(created=("b", "a")), None
    )
    assert (
        "Made in the children and left there: `a` and `b`. Bring them: -o a,b"
        in " ".join(str(case).split())
    )
    case = result(Changes(mutated=("x",)), Changes(unchecked=("x",)))
    assert "`x` was changed in the children; yours is as before." in str(case)
    assert "Not checked" not in str(case.details())


@pytest.mark.parametrize("ending", ["raised", "exited", "interrupted"])
def test_of_a_child_that_failed_only_the_full_report_tells(ending: Any) -> None:
    case = result(Changes(created=("a",)), ending=ending)
    assert "left there" not in str(case)
    assert "left there: `a`." in str(case.details())


def test_a_report_that_tells_what_stayed_alone_needs_no_setting() -> None:
    assert str(result(Changes(created=("a",)))).splitlines() == [
        "Ran in child 4711 for 1.0 s. Nothing was asked back.",
        "Made in the child and left there: `a`. Bring it: -o a",
    ]


def test_the_record_comes_back_from_json_and_has_its_columns() -> None:
    changes = Changes(created=("a", "m"), rebound=("r",), modules=("m",), others=3)
    case = result(changes, None)
    again = InProcess.from_dict(json.loads(json.dumps(case.to_dict())))
    assert again == case
    assert case.to_dict()["children"][0]["changes"] == {
        "created": ["a", "m"],
        "rebound": ["r"],
        "mutated": [],
        "deleted": [],
        "unchecked": [],
        "modules": ["m"],
        "others": 3,
    }
    one, two = case.rows()
    assert (one["created_names"], one["rebound_names"]) == ("a, m", "r")
    assert (one["mutated_names"], one["other_names"]) == ("", 3)
    assert "created_names" not in two


def test_what_is_no_list_of_names_is_refused() -> None:
    for bad in ({"created": 5}, {"created": [1]}, {"created": "ab"}, {"others": "x"}):
        with pytest.raises(IpcMagicError):
            InProcess.from_dict(
                {
                    **result(None).to_dict(),
                    "children": [
                        {**result(None).to_dict()["children"][0], "changes": bad}
                    ],
                }
            )
