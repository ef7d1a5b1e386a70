"""The dashboards' JSON is what their panels say, and asks only for what is exported."""

import json
import re
from pathlib import Path

import yaml

from examples.observability.grafana.build import FOLDER, files
from tests.metrics.test_exposition import described

ROOT = Path(__file__).parents[2]


def test_the_json_is_up_to_date() -> None:
    shown = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert shown == files(), "make dashboards"


def test_no_panel_of_a_dashboard_has_the_number_of_another() -> None:
    for text in files().values():
        ids = [panel["id"] for panel in json.loads(text)["panels"]]
        assert len({*ids}) == len(ids)


def test_the_names_in_queries_are_those_of_the_page() -> None:
    rules = (ROOT / "examples/observability/prometheus/plimsoll.rules.yml").read_text()
    known = {*described(), *re.findall(r"record: (\S+)", rules)}
    for name, text in files().items():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", ()):
                asked = re.findall(r"\b(?:plimsoll_|job_pool|process_)[\w:]+", target["expr"])
                for each in asked:
                    assert re.sub(r"_bucket$", "", each) in known, f"{name}: {each}"


def test_provisioning_is_yaml_of_its_first_version() -> None:
    for path in FOLDER.parent.glob("provisioning/*/*.yaml"):
        assert yaml.safe_load(path.read_text())["apiVersion"] == 1
