"""Which rule a series falls under, and what none may ever take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from parts import ct_series
from pydicom.dataset import Dataset

from medimg.errors import ConfigError
from medimg.pacs.serve.routing import choose
from medimg.pacs.serve.settings import (
    CompletenessSettings,
    DestinationSettings,
    ReceiverSettings,
    RouteSettings,
    ServeSettings,
    check,
)
from medimg.pacs.serve.tag_names import tag_of

CHEST = RouteSettings("chest", "p", modality="CT", body_part="CHEST|THORAX", min_slices=3, max_slices=9)
ANY = RouteSettings("any", "p")


def chosen(folder: Path, *routes: RouteSettings, count: int = 4, made_here: bool = False, **more: Any) -> Any:
    files = []
    for index, one in enumerate(ct_series("a", count, **more)):
        files.append(folder / f"{index}.dcm")
        one.save_as(files[-1], enforce_file_format=True)
    choice = choose(files, routes, made_here=made_here)
    return choice.route.name if choice.route else choice.reason


def test_the_first_rule_that_matches_decides(tmp_path: Path) -> None:
    assert chosen(tmp_path, CHEST, ANY) == "chest"
    assert chosen(tmp_path, ANY, CHEST) == "any"
    assert chosen(tmp_path, CHEST, ANY, BodyPartExamined="HEAD") == "any"
    assert chosen(tmp_path, CHEST, BodyPartExamined="thorax") == "chest"
    assert chosen(tmp_path, CHEST, BodyPartExamined="HEAD") == "no rule matches"
    assert chosen(tmp_path, CHEST, Modality="MR") == "no rule matches"
    assert "2 images" in chosen(tmp_path, CHEST, count=2)
    assert "10 images" in chosen(tmp_path, CHEST, count=10)


def test_tags_and_exclusions(tmp_path: Path) -> None:
    soft = RouteSettings("soft", "p", tags={"ConvolutionKernel": "B3.*", "(0018,0050)": r"2(\.0)?"})
    assert chosen(tmp_path, soft, ConvolutionKernel="B30f") == "soft"
    assert chosen(tmp_path, soft, ConvolutionKernel="B70f") == "no rule matches"
    plain = RouteSettings("plain", "p", exclude={"ContrastBolusAgent": ".+", "SeriesDescription": ".*bone.*"})
    assert chosen(tmp_path, plain) == "plain"
    assert chosen(tmp_path, plain, ContrastBolusAgent="Iodine") == "no rule matches"
    assert chosen(tmp_path, plain, SeriesDescription="Thorax BONE") == "no rule matches"
    assert tag_of("00180015") == tag_of("BodyPartExamined")
    with pytest.raises(ConfigError):
        tag_of("BodyPartExamind")


@pytest.mark.parametrize(
    "image_type", [["ORIGINAL", "PRIMARY", "LOCALIZER"], ["DERIVED", "SECONDARY", "MPR"], ["DERIVED", "PRIMARY"]]
)
def test_localizers_and_derived_images_are_never_run(tmp_path: Path, image_type: list[str]) -> None:
    assert chosen(tmp_path, CHEST, ANY, ImageType=image_type) not in ("chest", "any")


def test_derived_images_are_run_where_the_rule_says_so(tmp_path: Path) -> None:
    lets = RouteSettings("lets", "p", derived=True)
    assert chosen(tmp_path, CHEST, lets, ImageType=["DERIVED", "PRIMARY"]) == "lets"
    assert chosen(tmp_path, lets, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]) != "lets"


def test_what_medimg_made_is_never_run(tmp_path: Path) -> None:
    lets = RouteSettings("lets", "p", derived=True)
    item = Dataset()
    item.Manufacturer, item.ManufacturerModelName = "medimg", "bright 1"
    own = "it was made by medimg"
    assert chosen(tmp_path, lets, made_here=True) == own
    assert chosen(tmp_path, lets, ContributingEquipmentSequence=[item]) == own
    assert "lets" not in chosen(tmp_path, lets, Manufacturer="medimg")


def test_what_cannot_be_read_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"nothing")
    assert choose([tmp_path / "x"], [ANY]).route is None


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (ServeSettings(), "receiver.peers"),
        (ServeSettings(receiver=ReceiverSettings(peers=["*"], host="0.0.0.0")), "receiver.peers"),
        (ServeSettings(receiver=ReceiverSettings(peers=["A"], ae_title="A" * 17)), "receiver.ae_title"),
        (ServeSettings(completeness=CompletenessSettings(incomplete="guess")), "completeness.incomplete"),
        (ServeSettings(routes=[RouteSettings("a")]), "package"),
        (ServeSettings(routes=[RouteSettings("a", "p", destinations=["nowhere"])]), "destinations"),
        (ServeSettings(routes=[RouteSettings("a", "p", body_part="(")]), "body_part"),
        (ServeSettings(routes=[RouteSettings("a", "p", results=["segg"])]), "dicom"),
        (ServeSettings(routes=[RouteSettings("a", "p", results=["seg", "seg_labelmap"])]), "dicom"),
        (ServeSettings(routes=[RouteSettings("a", "p"), RouteSettings("a", "q")]), "routes[1].name"),
        (ServeSettings(routes=[RouteSettings("a", "p", tags={"NoSuchTag": "x"})]), "routes"),
        (ServeSettings(destinations={"d": DestinationSettings(protocol="ftp")}), "destinations.d.protocol"),
        (ServeSettings(destinations={"d": DestinationSettings(protocol="stow")}), "destinations.d.url"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_their_key(settings: ServeSettings, key: str) -> None:
    if key != "receiver.peers":
        settings.receiver.peers = ["PACS"]
    with pytest.raises(ConfigError) as caught:
        check(settings)
    assert key in str(caught.value.where)
