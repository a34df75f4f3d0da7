"""The page in a real browser, where Chromium is installed: what its script does, and its layout.

A second script, allowed by its hash beside the page's own, does what a reader would and writes down
what it sees. Left out: how the page looks, which a person has to see.
"""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

from supreme_core.report.page import hash_of, render_report
from tests.core.analysis.summaries import summary

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--dump-dom",
    "--virtual-time-budget=5000",
)
EVIL = "<img src=x onerror=document.title='evil'>"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.usefixtures("plots_once"),
]

READS = """
const wrong = [];
addEventListener("securitypolicyviolation", (event) => wrong.push(event.violatedDirective));
addEventListener("error", (event) => wrong.push(event.message));
addEventListener("load", () => setTimeout(() => {
  const table = document.querySelector("table.sortable");
  const body = table.tBodies[table.tBodies.length - 1];
  const titles = (rows) => [...rows].map((row) => row.cells[0].textContent);
  const names = () => titles([...body.rows].filter((row) => !row.hidden));
  const heads = () => [...table.tHead.rows[0].cells].filter((head) => !head.hidden).length;
  const found = { wrong, wide: document.documentElement.scrollWidth, shown: innerWidth };
  found.first = names();
  const buttons = [...table.querySelectorAll("thead button")];
  buttons[0].click();
  found.byName = names();
  buttons[0].click();
  found.byNameDown = names();
  buttons[1].click();
  found.byGap = names();
  found.sorted = table.querySelectorAll("[aria-sort]").length;
  found.references = titles(table.tBodies[0].rows);
  const filter = document.querySelector(".tools input[type=search]");
  filter.value = "m1";
  filter.dispatchEvent(new Event("input"));
  found.filtered = names();
  found.count = document.querySelector(".tools output").textContent;
  const before = heads();
  document.querySelector(".tools input[type=checkbox]").click();
  found.heads = [before, heads()];
  const top = (query) => document.querySelector(query).getBoundingClientRect();
  found.ends = { answers: top(".answers").bottom, figure: top(".first svg").bottom,
                 heads: top("table.sortable thead").bottom };
  const fold = document.getElementById("definitions").closest("details");
  found.fold = [fold.open];
  const saved = [];
  const saving = URL.createObjectURL;
  URL.createObjectURL = (blob) => { saved.push(blob); return saving.call(URL, blob); };
  HTMLAnchorElement.prototype.click = () => {};  // a download has no place to go
  const [asSvg, asPng] = document.querySelectorAll(".first .save button");
  asSvg.click();
  asPng.click();
  filter.value = "";
  filter.dispatchEvent(new Event("input"));
  const row = [...body.rows].find((each) => each.cells[0].textContent === "m1");
  row.querySelector("button").click();
  const detail = row.nextSibling;
  found.seeds = [...detail.querySelectorAll("dd")].map((each) => each.textContent);
  found.metrics = [...detail.querySelectorAll("dt")].map((each) => each.textContent);
  buttons[0].click();
  found.details = document.querySelectorAll(".detail").length;
  location.hash = "#definitions";
  setTimeout(async () => {
    found.fold.push(fold.open);
    found.saved = saved.map((blob) => [blob.type, blob.size]);
    const text = await new Response(saved[0]).text();
    const drawn = new DOMParser().parseFromString(text, "image/svg+xml");
    found.drawn = [drawn.documentElement.tagName, text.includes("var(")];
    parent.postMessage(JSON.stringify(found), "*");
  }, 1000);
}, 100));
"""

FRAME = """<!doctype html><pre id="told"></pre><script>
addEventListener("message", (event) => {{ document.all.told.textContent = event.data; }});
</script><iframe src="page.html" style="border: 0; width: {width}px; height: {height}px"></iframe>
"""
"""Frame of any size, since Chromium has no window that is narrower than 500."""


def seen(page, folder, width, height):
    """Open a page in a frame of this size and return what the script has seen."""
    text = page.decode()
    text = text.replace("script-src '", f"script-src '{hash_of(READS)}' '", 1)
    text = text.replace("</head>", f"<script>{READS}</script></head>", 1)
    (folder / "page.html").write_text(text)
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width, height=height))
    profile = f"--user-data-dir={folder / 'profile'}"
    ran = subprocess.run(
        [CHROMIUM, *FLAGS, profile, frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    (told,) = re.findall(r'<pre id="told">(.*?)</pre>', ran.stdout, re.DOTALL)
    return json.loads(unescape(told))


@pytest.fixture(scope="module")
def page():
    found = summary(scenarios=("a", "b"), methods=tuple(f"m{number}" for number in range(13)))
    evil = [row.model_copy(update={"method": EVIL}) for row in found.rows if row.method == "m12"]
    rows = [*(row for row in found.rows if row.method != "m12"), *evil]
    return render_report(found.model_copy(update={"rows": rows}))


def test_on_a_desk_the_table_is_sorted_and_filtered_and_the_answer_is_on_one_screen(page, tmp_path):
    found = seen(page, tmp_path, 1400, 900)
    assert found["wrong"] == []
    assert found["references"] == ["Original", "Retrained"]
    assert EVIL in found["first"]
    assert sorted(found["first"]) == sorted(found["byName"])
    assert found["byName"] == found["byNameDown"][::-1]
    assert found["byGap"] == found["first"]  # which is nearest first
    assert found["sorted"] == 1
    assert sorted(found["filtered"]) == ["m1", "m10", "m11"]
    assert found["count"] == "3 of 13"
    assert found["heads"][0] - found["heads"][1] == 1
    assert found["fold"] == [False, True]
    assert max(found["ends"].values()) < 900
    assert found["metrics"] == [
        "Forget accuracy",
        "Test accuracy",
        "Forget JS divergence",
        "MIA loss AUC",
    ]
    for values in found["seeds"]:
        assert re.fullmatch(r"(seed \d+: −?\d+\.\d+( \w+)?( · |$)){5}", values)
    assert found["details"] == 0  # a table that is sorted anew has none
    assert found["drawn"] == ["svg", False]
    assert [kind for kind, _ in found["saved"]] == ["image/svg+xml", "image/png"]
    assert found["saved"][1][1] > 10_000


def test_a_telephone_shows_the_page_without_scrolling_sideways(page, tmp_path):
    found = seen(page, tmp_path, 400, 900)
    assert found["shown"] == 400
    assert found["wide"] <= found["shown"]
