"""The report in headless Chromium: drawn, readable, within the window, and silent towards the network."""

import asyncio

import pytest

from chromium import chromium
from sluiceway.batch.paths import Paths
from sluiceway.batch.report import write_report
from sluiceway.batch.rows import ResultRow
from sluiceway.providers.usage import Usage

pytestmark = pytest.mark.real

READY = "new Promise(done => { const look = () => document.body && document.body.dataset.ready ? \
done(document.body.dataset.ready) : setTimeout(look, 20); look(); })"
CONTRAST = """(() => {
  const light = color => { const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((m, n) => n - m);
    return (x + 0.05) / (y + 0.05); };
  const surface = getComputedStyle(document.querySelector("figure")).backgroundColor;
  const texts = [...document.querySelectorAll("h2, p, td, th, .card div")].map(e => getComputedStyle(e).color);
  const ticks = [...document.querySelectorAll(".xtick text, .ytick text")].map(e => getComputedStyle(e).fill);
  return Math.min(...[...texts, ...ticks].map(color => ratio(color, surface)));
})()"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
OUTSIDE = """[...document.querySelectorAll("figure")].filter(figure => { const box = figure.getBoundingClientRect();
  return [...figure.querySelectorAll("svg.main-svg")].some(svg => svg.getBoundingClientRect().right > box.right + 1); })
  .length"""
LINES = 'getComputedStyle(document.querySelector(".js-line")).stroke'


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of two hundred rows of two models."""
    paths = Paths.of(tmp_path_factory.mktemp("report") / "answers.jsonl")
    rows = (
        ResultRow(
            f"row-{n}-with-a-rather-long-name",
            n,
            "x",
            Usage(100 + n, 50 + n % 70),
            0.0001 * (n % 13),
            latency_s=0.5 + n % 17 / 5,
            model=f"model-{n % 2}",
            waited_s={"rate_limited": 0.2},
            finished_at=1_700_000_000.0 + n / 3,
        )
        for n in range(200)
    )
    paths.results.write_bytes(b"".join(row.to_line() for row in rows))
    return write_report(paths.results)


async def looked_at(page):
    """Check what must hold in any window and any scheme: all within it, and text that stands off its ground."""
    assert 6 <= await page.ask('document.querySelectorAll(".chart svg.main-svg").length')
    assert 0 == await page.ask(OVERFLOW)
    assert 0 == await page.ask(OUTSIDE)
    assert 4.5 <= await page.ask(CONTRAST)  # WCAG 2, AA


@pytest.mark.parametrize("width", [1600, 360])
async def test_every_chart_is_drawn_and_readable_wide_and_narrow_light_and_dark(report, width):
    """The charts are drawn anew when the scheme changes; nobody else is asked for anything, and nothing goes wrong."""
    async with chromium() as page:
        await page.open(report, width=width, phone=width < 500)
        assert "6" == await page.ask(READY)
        await looked_at(page)
        before = await page.ask(LINES)
        await page.scheme(dark=True)
        async with asyncio.timeout(30):
            while before == await page.ask(LINES):  # noqa: ASYNC110 - the page says nothing when it is drawn anew
                await asyncio.sleep(0.05)
        await looked_at(page)
        assert [] == page.errors
        assert [report.as_uri()] == [url for url in page.requests if not url.startswith(("blob:", "data:"))]
