"""From the description of a still life to a picture, with Mitsuba 3 (Jakob et al. 2022) and Intel Open Image Denoise."""

from typing import Any

import drjit as dr
import mitsuba as mi
import numpy as np
import pyoidn
from PIL import Image

from samples import shapes, textures
from samples.still_life import Material, Part, StillLife
from samples.textures import Array, Bitmap

DEPTH = 8
"""Longest path of light: through both walls of a glass and back."""


GLASSES, SOLIDS = 4, 28
"""Meshes in every scene, by their sort of material; those that a picture does not need are specks under the table. With the same number of
each, Dr.Jit compiles once for all pictures, where a scene is the first that its process loads."""
_GUIDES = {"type": "aov", "aovs": "albedo:albedo,normal:sh_normal"}
"""What the denoiser sees beside the noisy picture."""
_SPECK = shapes.sheet(0.01, 0.01, rise=np.zeros((2, 2))).moved(to=(0, 0, -1))
_NOTHING, _NO_GLASS = (
    Part(_SPECK, Material(textures.as_bytes(textures.plain((0, 0, 0))), glass=glass)) for glass in (False, True)
)


def choose_variant() -> str:
    """Take the compiled variant where LLVM is installed, else the one that needs nothing; returns its name."""
    try:
        mi.set_variant("llvm_ad_rgb")
        # Pictures are rendered side by side, and threads that wait for work would take the processors from each other.
        dr.set_thread_count(1)
        mi.Float(1.0) + 1.0  # raises where libLLVM cannot be loaded
    except (ImportError, RuntimeError):
        mi.set_variant("scalar_rgb")
    return str(mi.variant())


def render(scene: StillLife, *, side: int, rendered: int, samples: int, seed: int) -> Image.Image:
    """The picture, `side` pixels wide and high. It is rendered `rendered` pixels wide, with `samples` paths a pixel."""
    world = _loaded(scene, rendered)
    light = np.array(mi.render(world, spp=samples, seed=seed))
    guides = np.array(mi.render(world, integrator=mi.load_dict(_GUIDES), spp=max(4, samples // 4), seed=seed))
    albedo, normal = (np.ascontiguousarray(guides[..., at : at + 3]) for at in (0, 3))
    light = np.minimum(np.nan_to_num(light), 60.0)
    clean = pyoidn.denoise(light, albedo=np.clip(np.nan_to_num(albedo), 0, 1), normal=np.nan_to_num(normal), hdr=True)
    developed = Image.fromarray((_developed(clean, scene) * 255).round().astype(np.uint8))
    return developed.resize((side, side), Image.Resampling.LANCZOS)


def _developed(light: Array, scene: StillLife) -> Array:
    """Linear light as sRGB from 0 to 1: exposed for the middle of the picture, with the soft shoulder of film."""
    grey = light @ [0.2126, 0.7152, 0.0722]
    side = len(grey) // 6
    middle = np.exp(np.log(np.clip(grey[side:-side, side:-side], 1e-3, 20)).mean())
    x = light / middle * 0.33 * scene.exposure * np.asarray(scene.balance)
    tone = x @ [0.2126, 0.7152, 0.0722]
    x = np.maximum(tone[..., None] + 1.09 * (x - tone[..., None]), 0)
    x = x * (1 + x / 16) / (1 + 0.55 * x)
    x = np.clip(x, 0, 1)
    ticks = np.linspace(-1, 1, len(x))
    x *= (1 - 0.10 * (ticks[:, None] ** 2 + ticks[None] ** 2))[..., None]
    curve = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 0.0031308) ** (1 / 2.4) - 0.055)
    curve = curve + 0.16 * (curve - 0.5) * 4 * curve * (1 - curve)
    return np.clip(curve, 0, 1)


def _loaded(scene: StillLife, rendered: int) -> Any:
    world = mi.load_dict(_scene(scene, rendered))
    values = mi.traverse(world)
    # As values in memory: as constants of the compiled code they would make every picture compile anew.
    values["sensor.aperture_radius"] = dr.opaque(mi.Float, scene.camera.aperture)
    values["sensor.focus_distance"] = dr.opaque(mi.Float, scene.camera.focus)
    values.update()
    return world


def _scene(scene: StillLife, rendered: int) -> dict[str, Any]:
    camera = scene.camera
    world: dict[str, Any] = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": DEPTH, "rr_depth": 3},
        "sensor": {
            "type": "thinlens",
            "fov": camera.view,
            "aperture_radius": camera.aperture,
            "focus_distance": camera.focus,
            "to_world": mi.ScalarTransform4f().look_at(origin=camera.origin, target=camera.target, up=[0, 0, 1]),
            "film": {
                "type": "hdrfilm",
                "width": rendered,
                "height": rendered,
                "rfilter": {"type": "box"},
                "pixel_format": "rgb",
            },
            "sampler": {"type": "independent"},
        },
        "light": {
            "type": "envmap",
            "bitmap": mi.Bitmap(scene.surroundings),
            "to_world": mi.ScalarTransform4f().rotate([1, 0, 0], 90),
        },
    }
    of_material: dict[int, list[Part]] = {}
    for part in scene.parts:
        of_material.setdefault(id(part.material), []).append(part)
    groups = list(of_material.values())
    for name, slots, filler in (("glass", GLASSES, _NO_GLASS), ("solid", SOLIDS, _NOTHING)):
        found = [group for group in groups if group[0].material.glass == (name == "glass")]
        if len(found) > slots:
            raise ValueError(f"{len(found)} materials of the sort {name} in one picture: there is room for {slots}.")
        for number, group in enumerate(found + [[filler]] * (slots - len(found))):
            world[f"{name}{number:02}"] = _mesh(f"{name}{number:02}", group)
    return world


def _bsdf(material: Material) -> dict[str, Any]:
    if material.glass:
        tint = (material.colour[0, 0] / 255.0) ** 2.2
        return {"type": "dielectric", "int_ior": 1.5, "specular_transmittance": {"type": "rgb", "value": tint.tolist()}}
    return {
        "type": "twosided",
        "bsdf": {
            "type": "principled",
            "base_color": {
                "type": "bitmap",
                "bitmap": mi.Bitmap(_full_size(material.colour)),
            },
            "roughness": material.roughness,
            # A value of zero would be left out of the compiled code, which is to be the same for every picture.
            "metallic": max(material.metallic, 1e-3),
            "specular": 0.5,
            "clearcoat": max(material.coat, 1e-3),
            "clearcoat_gloss": 0.95,
        },
    }


def _full_size(bitmap: Bitmap) -> Bitmap:
    """The bitmap with `SIDE` pixels a side, since its size is a constant of the compiled code too."""
    return np.ascontiguousarray(
        bitmap.repeat(textures.SIDE // len(bitmap), axis=0).repeat(textures.SIDE // bitmap.shape[1], axis=1)
    )


def _mesh(name: str, parts: list[Part]) -> Any:
    """One mesh of all parts that are of one material."""
    meshes = [part.mesh for part in parts]
    before = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = np.concatenate([mesh.faces + first for mesh, first in zip(meshes, before[:-1], strict=True)])
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict(_bsdf(parts[0].material))
    mesh = mi.Mesh(name, int(before[-1]), len(faces), properties, has_vertex_normals=True, has_vertex_texcoords=True)
    values = mi.traverse(mesh)
    for key, arrays in {
        "vertex_positions": [mesh.vertices for mesh in meshes],
        "vertex_normals": [mesh.normals for mesh in meshes],
        "vertex_texcoords": [part.mesh.texture_coordinates * part.material.repeat for part in parts],
    }.items():
        values[key] = np.concatenate(arrays).astype(np.float32).ravel()
    values["faces"] = faces.astype(np.uint32).ravel()
    values.update()
    return mesh
