import shutil

import numpy as np
import pytest

from opentps_brimstone.engine.collapsed_cones import ConeEngine
from opentps_brimstone.engine.errors import EngineError
from opentps_brimstone.engine.kernel_tables import kernel_digest, kernel_folder, read_kernel_tables
from opentps_brimstone.model.influence import VoxelGrid

FILES = ("radii", "angles", "energies", "fluence", "mu", "mu_en", "primary", "first_scatter", "second_scatter")
FILES += ("multiple_scatter", "brem_annih")


@pytest.fixture
def folder(tmp_path):
    """A writable copy of OpenTPS's kernels."""
    return shutil.copytree(kernel_folder(), tmp_path / "kernels")


def test_kernels_that_opentps_brings_are_read():
    for name in (None, "Kernels_differentFluence", "Kernels_6MV"):
        assert read_kernel_tables(name) is not None
    assert kernel_digest() == kernel_digest("Kernels_differentFluence") != kernel_digest("Kernels_6MV")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_table_is_named(folder, name):
    (folder / f"{name}.bin").unlink()
    with pytest.raises(EngineError, match=rf"kernels/{name}.bin is missing"):
        read_kernel_tables(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_table_of_another_form_is_named(folder, name):
    path = folder / f"{name}.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(EngineError, match=rf"kernels/{name}.bin has \d+ bytes; it must hold .*32-bit floats"):
        read_kernel_tables(folder)


def test_a_table_that_is_not_finite_is_named(folder):
    values = np.fromfile(folder / "primary.bin", np.float32)
    values[7] = np.nan
    values.tofile(folder / "primary.bin")
    with pytest.raises(EngineError, match=r"primary.bin has values that are not finite"):
        read_kernel_tables(folder)


def test_radii_that_fall_name_the_folder(folder):
    radii = np.fromfile(folder / "radii.bin", np.float32)
    radii[::-1].tofile(folder / "radii.bin")
    with pytest.raises(EngineError, match=r"the kernels in .*kernels cannot be used: .*radii must rise"):
        read_kernel_tables(folder)


def test_an_unknown_folder_names_those_there_are():
    with pytest.raises(EngineError, match=r"no folder of kernels 'Kernels_18MV'.*Kernels_6MV"):
        read_kernel_tables("Kernels_18MV")


def test_a_header_may_be_missing_and_must_not_contradict(folder):
    header = folder / "kernel_header.txt"
    header.unlink(missing_ok=True)
    read_kernel_tables(folder)
    header.write_text("Nradii Nangles Nenergies\r\n24 48 14\r\n")
    read_kernel_tables(folder)
    header.write_text("Nradii Nangles Nenergies\r\n24 48 15\r\n")
    with pytest.raises(EngineError, match=r"kernel_header.txt states \[24, 48, 15\], but .* 14 energies"):
        read_kernel_tables(folder)


def test_the_folder_is_what_doses_are_computed_with(folder):
    from opentps_brimstone.engine.collapsed_cones import BeamletField, BeamView

    fluence = np.fromfile(folder / "fluence.bin", np.float32)
    (2 * fluence).tofile(folder / "fluence.bin")
    grid = VoxelGrid((12, 12, 12), (5.0, 5.0, 5.0), (-27.5, -27.5, -27.5))
    field = BeamletField(BeamView.from_angles((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1000.0), np.zeros((1, 2)), (5.0, 5.0))
    once, twice = (
        ConeEngine(np.ones(grid.shape), grid, kernels=kernels).beamlets([field]) for kernels in (None, folder)
    )
    np.testing.assert_allclose(twice.toarray(), 2 * once.toarray(), rtol=1e-6)
