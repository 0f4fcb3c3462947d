"""Charts as inline SVG, drawn on the server. Sizes are attributes: a strict content security
policy forbids style attributes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ai_migration.admin import display
from ai_migration.engine.insight.metrics import Done
from ai_migration.jobs.activity import Span, common, length, worked

WIDTH, HEIGHT = 600, 100
BARS = 60
TICKS = 4
"""Parts of the time axis."""
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Chart:
    """Entities a second over time, while somebody worked.

    Attributes:
        start: Start of the first bar.
        end: End of the last bar.
        rates: The rate of each bar.
    """

    start: datetime
    end: datetime
    rates: Sequence[float]

    @property
    def peak(self) -> float:
        """The highest bar."""
        return max(self.rates, default=0.0)

    @property
    def top(self) -> float:
        """The top of the axis: a round number."""
        if self.peak <= 0:
            return 1.0
        unit = 10.0 ** math.floor(math.log10(self.peak))
        return next(step * unit for step in _STEPS if step * unit >= self.peak * 0.999)

    @property
    def words(self) -> str:
        """A text alternative to the chart."""
        words = _("Entities per second, without pauses and idle time; the highest bar is %(peak)s.")
        return words % {"peak": display.figures(self.peak)}

    @property
    def levels(self) -> list[str]:
        """The labels of the axis, from the top down."""
        return [display.figures(self.top * part) for part in (1, 0.5, 0)]

    @property
    def moments(self) -> list[SafeString]:
        """The labels of the time axis."""
        step = (self.end - self.start) / TICKS
        at = [self.start + step * tick for tick in range(TICKS + 1)]
        shown = [display.tick(moment, self.end - self.start) for moment in at]
        # Of a short time, several moments read the same.
        return [text if text not in shown[:n] else SafeString() for n, text in enumerate(shown)]

    @property
    def svg(self) -> SafeString:
        """The chart."""
        step = WIDTH / len(self.rates)
        bars = format_html_join(
            "\n",
            '<rect x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
            (
                (
                    f"{i * step + step * 0.1:.1f}",
                    f"{HEIGHT - HEIGHT * rate / self.top:.1f}",
                    f"{step * 0.8:.1f}",
                    f"{HEIGHT * rate / self.top:.1f}",
                    display.per_second(rate),
                )
                for i, rate in enumerate(self.rates)
            ),
        )
        return format_html(
            '<svg class="aim-chart" role="img" aria-label="{}" viewBox="0 0 {} {}"'
            ' preserveAspectRatio="none" focusable="false">'
            '<path d="M0 0H{}M0 {}H{}"/>{}</svg>',
            self.words,
            WIDTH,
            HEIGHT,
            WIDTH,
            HEIGHT // 2,
            WIDTH,
            bars,
        )


def of_batches(
    batches: Sequence[tuple[Span, int]], running: Sequence[Span], bars: int = BARS
) -> Chart | None:
    """Return the chart of a job's batches; None without any.

    Args:
        batches: The time each took, and its number of entities.
        running: When the job was running.
        bars: Number of bars.
    """
    active = worked([span for span, _entities in batches], running)
    if not active:
        return None
    whole = Span(active[0].start, max(active[-1].end, active[0].start + timedelta(seconds=1)))
    step = (whole.end - whole.start) / bars
    entities = [0.0] * bars
    for span, count in batches:
        first = min(bars - 1, int((span.start - whole.start) / step))
        last = min(bars - 1, int((span.end - whole.start) / step))
        took = (span.end - span.start) or step
        for number in range(first, last + 1):
            bar = _bar(whole, step, number)
            part = min(span.end, bar.end) - max(span.start, bar.start)
            entities[number] += count * (1.0 if first == last else part / took)
    seconds = [
        length(common(active, [_bar(whole, step, number)])).total_seconds()
        for number in range(bars)
    ]
    return Chart(*whole, _rates(entities, seconds))


def of_engine(done: Iterable[Done], start: datetime, end: datetime, bars: int = BARS) -> Chart:
    """Return the chart of all workers.

    Args:
        done: What they did.
        start: Start of the chart.
        end: End of the chart.
        bars: Number of bars.
    """
    entities, seconds = [0.0] * bars, [0.0] * bars
    for each in done:
        if start <= each.at:
            number = min(bars - 1, int((each.at - start) / (end - start) * bars))
            entities[number] += each.entities
            seconds[number] += each.seconds
    return Chart(start, end, _rates(entities, seconds))


def _bar(whole: Span, step: timedelta, number: int) -> Span:
    return Span(whole.start + step * number, whole.start + step * (number + 1))


def _rates(entities: Sequence[float], seconds: Sequence[float]) -> list[float]:
    return [
        count / took if count and took else 0.0
        for count, took in zip(entities, seconds, strict=True)
    ]
