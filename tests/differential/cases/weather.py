"""Ops that paint weather and light."""

CASES = {
    "RandomRain": [{"given": {"slant_range": (5, 5)}, "by": "statistics"}],
    "RandomFog": [{"given": {"fog_coef_range": (0.5, 0.5)}, "by": "statistics"}],
    "RandomSnow": [
        {"given": {"snow_point_range": (0.3, 0.3)}},
        # No texture: theirs adds it to hues and saturation as well.
    ],
    "RandomShadow": [
        {
            "given": {"num_shadows_limit": (1, 2), "shadow_intensity_range": (0.4, 0.6)},
            "seed": seed,
            "drawn": lambda drawn, frame: {"vertices": drawn["vertices_list"], "intensities": drawn["intensities"]},
        }
        for seed in (7, 8)
    ],
    "RandomSunFlare": [
        {
            "given": {"src_radius": 60, "method": method},
            "drawn": lambda drawn, frame: {"center": drawn["flare_center"], "circles": drawn["circles"]},
        }
        for method in ("overlay", "physics_based")
    ],
}
