"""The look of Gradio's own controls; everything else is in ``page/style.css``, whose variables both use."""

from gradio.themes import Base

SANS = ["Inter", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO = ["ui-monospace", "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", "monospace"]


def theme() -> Base:
    """Gradio's base theme on the page's colours. The variables are the same in light and dark; their values change."""
    look = {
        "body_background_fill": "var(--paper)",
        "body_text_color": "var(--ink)",
        "body_text_color_subdued": "var(--ink-soft)",
        "background_fill_primary": "var(--paper)",
        "background_fill_secondary": "var(--rail)",
        "block_background_fill": "transparent",
        "block_border_width": "0px",
        "block_label_text_color": "var(--ink-soft)",
        "block_title_text_color": "var(--ink-soft)",
        "block_shadow": "none",
        "border_color_primary": "var(--line)",
        "border_color_accent": "var(--accent)",
        "color_accent": "var(--accent)",
        "color_accent_soft": "var(--accent-soft)",
        "input_background_fill": "var(--card)",
        "input_border_color": "var(--line)",
        "input_border_color_focus": "var(--accent)",
        "input_placeholder_color": "var(--ink-faint)",
        "button_primary_background_fill": "var(--accent)",
        "button_primary_background_fill_hover": "var(--accent-strong)",
        "button_primary_text_color": "var(--on-accent)",
        "button_secondary_background_fill": "var(--card)",
        "button_secondary_text_color": "var(--ink)",
    }
    base = Base(font=SANS, font_mono=MONO, spacing_size="md", radius_size="md", text_size="md")
    darkable = {name for name in vars(base) if name.endswith("_dark")}
    return base.set(**look, **{f"{name}_dark": value for name, value in look.items() if f"{name}_dark" in darkable})
