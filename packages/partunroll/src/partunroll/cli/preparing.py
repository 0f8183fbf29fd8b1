"""Commands about measured data: prepare, also of known collections, and the operators to fit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from normalfit.command_line import print_result
from normalfit.written_beside import check_outputs
from partunroll.cli.options import (
    BackendOption,
    CalibrationOption,
    CoilMapMethod,
    DeviceOption,
    IntensityOption,
    JsonOption,
    MethodOption,
    OperatorOption,
    OutputOption,
    Split,
    WindowOption,
)

SplitFileOption = Annotated[
    Path | None,
    typer.Option(
        "--split", metavar="YAML", help="Lists of names under 'train', 'validation' and 'test'."
    ),
]


def prepare(
    operator: OperatorOption,
    measurements: Annotated[
        list[str],
        typer.Option("--measurements", metavar="FILE...", help="npy, npz, h5, cfl, tif, zarr, ..."),
    ],
    output: OutputOption,
    reference: Annotated[
        list[str] | None,
        typer.Option("--reference", metavar="FILE...", help="As many volumes; none to test only."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the operator; default: of its file.")
    ] = None,
    intensity_per_mm: IntensityOption = None,
    split: Annotated[
        Split | None,
        typer.Option(
            "--split", help="What they are for; default: train with references, else test."
        ),
    ] = None,
    undersample: Annotated[
        bool,
        typer.Option(
            "--undersample",
            help="The measurements are full k-space: apply the mask, and make the reference.",
        ),
    ] = False,
    window: WindowOption = "hann",
    method: MethodOption = "auto",
    backend: BackendOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Put measured data, with references where there are some, into a data store.

    Two public collections have commands of their own: 'prepare walnut', 'prepare calgary'.
    """
    from normalfit.progress_bar import progress_bars
    from normalfit.specs import load_spec
    from partunroll.measurements.preparation import prepare as prepare_data
    from partunroll.objects.object_sources import safe_name

    check_outputs(output, json)
    with progress_bars() as bars:
        summary = prepare_data(
            load_spec(operator),
            measurements,
            reference or None,
            output,
            name=name or safe_name(operator),
            intensity_per_mm=intensity_per_mm,
            split=split,
            undersampled=undersample,
            window=window,
            method=method,
            backend=backend,
            device=device,
            progress=bars,
        )
    print_result(str(summary), summary.as_json(), json)


def prepare_walnut(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds Walnut1, Walnut2, …")],
    output: OutputOption,
    views: Annotated[
        list[int] | None,
        typer.Option("--views", metavar="N...", help="Of each orbit; default: 30 50 100."),
    ] = None,
    orbits: Annotated[
        list[int] | None,
        typer.Option(
            "--orbits", metavar="1|2|3...", help="High, middle, low source; default: the middle."
        ),
    ] = None,
    volume_bin: Annotated[
        int, typer.Option("--volume-bin", min=1, help="Voxels that become one along each axis.")
    ] = 1,
    detector_bin: Annotated[
        int, typer.Option("--detector-bin", min=1, help="Pixels that become one along each axis.")
    ] = 1,
    geometry: Annotated[
        Literal["corrected", "original"],
        typer.Option("--geometry", help="The authors' corrected geometry, or the one before."),
    ] = "corrected",
    max_shift: Annotated[
        float,
        typer.Option(
            "--max-shift",
            metavar="PIXELS",
            help="Geometries that differ less are one operator.",
        ),
    ] = 0.5,
    split: SplitFileOption = None,
    validation: Annotated[
        int | None,
        typer.Option(
            "--validation",
            min=0,
            metavar="N",
            help="The last N; default: 8 of 42.",
        ),
    ] = None,
    intensity_per_mm: IntensityOption = None,
    window: WindowOption = "hann",
    method: MethodOption = "auto",
    backend: BackendOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Put the Walnut-CBCT collection (Der Sarkissian et al. 2019) into a data store."""
    from normalfit.progress_bar import progress_bars
    from partunroll.measurements.walnut_preparation import WalnutChoice
    from partunroll.measurements.walnut_preparation import prepare_walnut as prepare

    check_outputs(output, json)
    choice = WalnutChoice(
        views=tuple(views or (30, 50, 100)),
        orbits=tuple(orbits or (2,)),
        volume_bin=volume_bin,
        detector_bin=detector_bin,
        geometry=geometry,
        max_shift_pixels=max_shift,
    )
    with progress_bars() as bars:
        summary = prepare(
            folder,
            output,
            choice,
            split=split,
            validation=validation,
            intensity_per_mm=intensity_per_mm,
            window=window,
            method=method,
            backend=backend,
            device=device,
            progress=bars,
        )
    print_result(str(summary), summary.as_json(), json)


def prepare_calgary(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Holds the .h5 files.")],
    output: OutputOption,
    split: SplitFileOption = None,
    acceleration: Annotated[
        list[float] | None,
        typer.Option("--acceleration", metavar="R...", help="Default: 5 10."),
    ] = None,
    mask: Annotated[
        Literal["poisson-disc", "gaussian", "random", "uniform"],
        typer.Option("--mask", help="How samples are drawn."),
    ] = "poisson-disc",
    mask_centre: Annotated[
        int, typer.Option("--mask-centre", min=0, help="Side of its fully sampled centre.")
    ] = 24,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the masks.")] = 0,
    coil_maps: Annotated[
        CoilMapMethod,
        typer.Option("--coil-maps", help="How they are estimated."),
    ] = "calibration",
    calibration: CalibrationOption = 24,
    slices: Annotated[
        tuple[int, int] | None,
        typer.Option("--slices", metavar="FIRST LAST", help="Along x, without LAST."),
    ] = None,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Put Calgary-Campinas multi-coil raw data into a data store, undersampled."""
    from normalfit.progress_bar import progress_bars
    from partunroll.measurements.calgary_preparation import CalgaryChoice
    from partunroll.measurements.calgary_preparation import prepare_calgary as prepare

    check_outputs(output, json)
    choice = CalgaryChoice(
        accelerations=tuple(acceleration or (5.0, 10.0)),
        mask=mask,
        mask_centre=mask_centre,
        seed=seed,
        coil_maps=coil_maps,
        calibration=calibration,
        slices=slices,
    )
    with progress_bars() as bars:
        summary = prepare(folder, output, choice, split=split, device=device, progress=bars)
    print_result(str(summary), summary.as_json(), json)


def operators(
    data: Annotated[Path, typer.Argument(metavar="STORE", help="A data store.")],
    output: OutputOption,
) -> None:
    """Write the operators of a data store as YAML files, which `normalfit fit` takes."""
    from partunroll.store.operator_export import export_operators

    names = export_operators(data, output)
    print_result("\n".join(f"{output / name}.yaml" for name in names))
