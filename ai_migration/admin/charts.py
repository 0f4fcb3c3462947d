"""Charts as inline SVG, drawn on the server. Sizes are attributes: a strict content security
policy forbids style attributes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ai_migration.admin.display import moment, number

WIDTH, HEIGHT = 600, 100
BARS = 60


@dataclass(frozen=True)
class Chart:
    """Entities a second over time.

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
    def words(self) -> str:
        """A text alternative to the chart."""
        return _("Entities per second; the highest bar is %(peak)s") % {
            "peak": number(self.peak, 1)
        }

    @property
    def began(self) -> str:
        """The start, for display."""
        return moment(self.start)

    @property
    def ended(self) -> str:
        """The end, for display."""
        return moment(self.end)

    @property
    def svg(self) -> SafeString:
        """The chart."""
        step = WIDTH / len(self.rates)
        top = self.peak or 1.0
        bars = format_html_join(
            "\n",
            '<rect x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
            (
                (
                    f"{i * step + step * 0.1:.1f}",
                    f"{HEIGHT - HEIGHT * rate / top:.1f}",
                    f"{step * 0.8:.1f}",
                    f"{HEIGHT * rate / top:.1f}",
                    f"{number(rate, 1)}/s",
                )
                for i, rate in enumerate(self.rates)
            ),
        )
        return format_html(
            '<svg class="aim-chart" role="img" aria-label="{}" viewBox="0 0 {} {}"'
            ' preserveAspectRatio="none" focusable="false">{}</svg>',
            self.words,
            WIDTH,
            HEIGHT,
            bars,
        )


def throughput(
    done: Iterable[tuple[datetime, int]], start: datetime, end: datetime, bars: int = BARS
) -> Chart:
    """Return the chart of entities per second.

    Args:
        done: Times, each with the number of entities done then.
        start: Start of the chart.
        end: End of the chart.
        bars: Number of bars.
    """
    span = max(end - start, timedelta(seconds=1))
    counts = [0] * bars
    for at, entities in done:
        if start <= at:
            counts[min(bars - 1, int((at - start) / span * bars))] += entities
    seconds = span.total_seconds() / bars
    return Chart(start, start + span, [count / seconds for count in counts])
