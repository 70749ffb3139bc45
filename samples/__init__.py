"""Renders the embedded sample: 300 still lifes of six kinds of tableware, each made from its seed.

    python -m samples

`shapes` makes meshes, `textures` makes bitmaps and `still_life` puts both together into the description of a scene: these need numpy
only. `rendering` turns a description into a picture with Mitsuba 3. Shapes, textures and pictures are in the public domain (CC0).
"""
