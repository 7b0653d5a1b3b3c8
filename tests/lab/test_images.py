"""The lab's image table, without an engine."""

import pytest

from kmuctl.services import CATALOG
from tests.lab import images
from tests.lab.builder import contexts
from tests.lab.builder.engine import LabError


def catalog_images() -> set[str]:
    found = {container.image for service in CATALOG for container in service.containers}
    return {image for image in found if not image.startswith(images.BUILT_BY_KMUCTL)}


def test_the_copy_of_the_pins_is_up_to_date() -> None:
    assert set(images.PINNED) == catalog_images()


@pytest.mark.parametrize("reference", sorted({*catalog_images(), *images.PARENTS}))
def test_every_image_of_the_catalog_can_be_built(reference: str) -> None:
    assert (contexts.FOLDERS / images.image_for(reference).folder / "Dockerfile").is_file()


def test_an_image_that_nothing_stands_behind_is_refused() -> None:
    with pytest.raises(LabError, match="no lab image stands behind it"):
        images.image_for("example/unknown:1.0")


def test_a_context_has_the_same_bytes_every_time() -> None:
    assert contexts.context("postgres") == contexts.context("postgres")


def test_parents_are_read_from_the_dockerfile() -> None:
    assert contexts.parents("caddy") == {"python", "debian"}
