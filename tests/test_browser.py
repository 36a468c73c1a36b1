"""Reports in a real browser: all figures are seen, on light and on dark."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest

from ipc_magic.results import (
    ChildRun,
    Crossing,
    ErrorInChild,
    Finding,
    InProcess,
    Limits,
    Setting,
)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]
READABLE = 4.5  # WCAG 2, success criterion 1.4.3: contrast of text
NOTEBOOK = "background: Canvas; color: CanvasText; color-scheme: light dark"
# What JupyterLab's dark theme sets, whatever the system prefers.
LAB_DARK = (
    "background: #111; --jp-content-font-color1: rgba(255, 255, 255, 1); "
    "--jp-content-font-color2: rgba(255, 255, 255, 0.7)"
)
# Of each element with text of its own: the text, its box, its contrast.
MEASURE = """
const ground = getComputedStyle(document.documentElement).backgroundColor;
const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
const linear = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const weights = [0.2126, 0.7152, 0.0722];
const light = rgb => weights.reduce((sum, w, i) => sum + w * linear(rgb[i]), 0);
const seen = [];
for (const element of document.querySelectorAll(".ipc-magic *")) {
  const own = [...element.childNodes].filter(node => node.nodeType === 3);
  const text = own.map(node => node.data).join("").trim();
  if (!text || element.tagName === "STYLE") continue;
  const [r, g, b, alpha = 1] = numbers(getComputedStyle(element).color);
  let opacity = alpha;
  for (let e = element; e; e = e.parentElement) opacity *= getComputedStyle(e).opacity;
  const below = numbers(ground);
  const above = [r, g, b].map((c, i) => c * opacity + below[i] * (1 - opacity));
  const [one, two] = [light(above), light(below)].sort((x, y) => y - x);
  const box = element.getBoundingClientRect();
  seen.push({text, width: box.width, height: box.height,
             contrast: (one + 0.05) / (two + 0.05)});
}
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
const result = document.createElement("pre");
result.id = "measured";
result.textContent = JSON.stringify({dark, seen});
document.body.append(result);
"""


@pytest.fixture
def reports():
    setting = Setting(
        python="3.11.7", system="Linux 6.18", start_method="fork", parent_threads=9
    )
    came = Crossing(
        names={"scores": 799_963_136, "best": 33},
        pickled_bytes=799_963_169,
        buffer_bytes=0,
        dump_seconds=0.152,
        transport_seconds=0.25,
        load_seconds=0.05,
    )
    well = ChildRun(
        index=0,
        pid=4711,
        start_method="fork",
        ending="finished",
        exit_code=0,
        start_seconds=0.002,
        run_seconds=12.4,
        end_seconds=0.001,
        sent=Crossing.nothing(),
        returned=came,
    )
    badly = ChildRun(
        index=1,
        pid=4712,
        start_method="fork",
        ending="raised",
        exit_code=0,
        error=ErrorInChild(
            type="ValueError", message="<b>", traceback="Traceback\n  <b>\nValueError"
        ),
        where="cell line 4: 1 < 2 & 3",
        run_seconds=3.2,
    )
    finding = Finding(
        code="polars", message="polars was loaded: `import` it in the cell"
    )
    limits = Limits(timeout_seconds=60.0)
    asked = ("scores", "best")
    one = InProcess(
        setting=setting,
        children=(well,),
        asked=asked,
        limits=limits,
        findings=(finding,),
    )
    two = InProcess(
        setting=setting, children=(well, badly), asked=asked, findings=(finding,)
    )
    return [shown for result in (one, two) for shown in (result, result.details())]


@pytest.fixture
def look(reports, tmp_path):
    """Return a function that shows the reports on a page and says what is seen."""

    def measure(style, *switches):
        bodies = [each._repr_mimebundle_()["text/html"] for each in reports]
        assert not any("<script" in body for body in bodies)
        page = tmp_path / "page.html"
        page.write_text(
            f'<!doctype html><html style="{style}"><meta charset="utf-8"><body>'
            f"{''.join(bodies)}<script>{MEASURE}</script></body></html>",
            encoding="utf-8",
        )
        done = subprocess.run(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"),
                *("--no-first-run", f"--user-data-dir={tmp_path / 'profile'}"),
                *("--window-size=900,2000", *switches, "--dump-dom", page.as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        (found,) = re.findall(r'(?s)<pre id="measured">(.*?)</pre>', done.stdout)
        return json.loads(html.unescape(found))

    return measure


@pytest.mark.parametrize(
    ("style", "switches", "dark"),
    [
        (NOTEBOOK, (), False),
        (NOTEBOOK, ("--force-dark-mode",), True),
        (LAB_DARK, (), False),
    ],
    ids=["light", "dark", "lab-dark"],
)
def test_a_report_can_be_read(look, style, switches, dark):
    page = look(style, *switches)
    assert page["dark"] == dark
    texts = [each["text"] for each in page["seen"]]
    whole = "\n".join(texts)
    for figure in ("4711", "762.9 MiB", "12.4 s", "3.2 s", "--timeout 60", "9 threads"):
        assert figure in whole
    assert "1 < 2 & 3" in whole
    assert "<b>" in whole
    hidden = [each for each in page["seen"] if not (each["width"] and each["height"])]
    assert hidden == []
    faint = [each for each in page["seen"] if each["contrast"] < READABLE]
    assert faint == []
