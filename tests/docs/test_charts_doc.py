"""docs/charts.md is what the charts say today."""

import re

from domain.lifecycle import RUN, STEP, TASK
from tests.docs.charts import PAGE, page


def test_the_page_is_what_the_charts_say():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.docs.charts"


def test_every_way_of_every_chart_is_drawn_once():
    drawn = re.findall(r"^    (\S+) --> (\S+): (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    known = [
        ("[*]" if source == "absent" else source, target, trigger)
        for table in (TASK, RUN, STEP)
        for (source, trigger), target in table.items()
    ]
    assert sorted(drawn) == sorted(known)
