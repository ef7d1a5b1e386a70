"""Build the Grafana dashboards: panels in, JSON in `dashboards/` out.

`make dashboards` writes them; a test says when that was forgotten.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Final, TypeAlias

from grafana_foundation_sdk.builders import common, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus as queries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

from examples.observability.grafana.parts import Board, Panel
from examples.observability.grafana.pools import FLEET, POOL
from examples.observability.grafana.replica import REPLICA
from examples.observability.grafana.xds import XDS

BOARDS: Final = (FLEET, POOL, REPLICA, XDS)
FOLDER: Final = Path(__file__).parent / "dashboards"

_SOURCE: Final = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_CHOICES: Final[Mapping[str, str]] = {
    "job": "label_values(plimsoll_build_info, job)",
    "pool": 'label_values(plimsoll_pool_replicas{job="$job"}, pool)',
    "replica": 'label_values(plimsoll_replica_state{job="$job", pool="$pool"}, replica)',
}
"""The variables that a dashboard may have, and where Grafana finds their values."""

Built: TypeAlias = stat.Panel | timeseries.Panel


def _panel(panel: Panel) -> Built:
    if panel.is_number:
        shown = common_models.BigValueTextMode
        is_named = bool(panel.queries[0][1])
        made: Built = (
            stat.Panel()
            .height(4)
            .span(4)
            .graph_mode(common_models.BigValueGraphMode.NONE)
            .text_mode(shown.NAME if is_named else shown.VALUE)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        )
    else:
        legend = (
            common.VizLegendOptions()
            .show_legend(show_legend=True)
            .display_mode(common_models.LegendDisplayMode.LIST)
            .placement(common_models.LegendPlacement.BOTTOM)
        )
        made = timeseries.Panel().height(8).span(8).fill_opacity(0).min(0).legend(legend)
    made = made.title(panel.title).description(panel.text).unit(panel.unit).datasource(_SOURCE)
    for index, (expression, legend_format) in enumerate(panel.queries):
        query = queries.Dataquery().expr(expression).legend_format(legend_format)
        made = made.with_target(query.ref_id("ABCDEFGH"[index]).datasource(_SOURCE))
    return made


def _variable(name: str) -> dashboards.QueryVariable:
    return (
        dashboards.QueryVariable(name)
        .query(_CHOICES[name])
        .datasource(_SOURCE)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def _dashboard(board: Board) -> models.Dashboard:
    made = (
        dashboards.Dashboard(board.title)
        .uid(f"plimsoll-{board.name}")
        .description(board.text)
        .tags(["plimsoll"])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(dashboards.DatasourceVariable("datasource").type("prometheus"))
        .link(
            dashboards.DashboardLink("Plimsoll")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["plimsoll"])
            .as_dropdown(as_dropdown=True)
            .keep_time(keep_time=True)
            .include_vars(include_vars=True)
        )
    )
    for name in board.variables:
        made = made.with_variable(_variable(name))
    ids = count(1)
    for row in board.rows:
        made = made.with_row(dashboards.Row(row.title).id(next(ids)))
        for panel in row.panels:
            made = made.with_panel(_panel(panel).id(next(ids)))
    return made.build()


def files(boards: Sequence[Board] = BOARDS) -> Mapping[str, str]:
    """The text of each dashboard, by the name of its file."""
    return {
        f"{board.name}.json": json.dumps(
            _dashboard(board), cls=JSONEncoder, indent=2, sort_keys=True
        )
        + "\n"
        for board in boards
    }


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text)
