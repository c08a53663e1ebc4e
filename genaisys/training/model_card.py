"""The model card of a model that was trained from a recipe, in the form of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from genaisys.training.report import numbers_table


def write_model_card(
    name: str, recipe: Mapping[str, Any], data: tuple[str, str], report: Mapping[str, Any], file: Path
) -> None:
    """Write what the model is, what it has learned from, how well, and how to make it again.

    Args:
        data: what the data are, and their licence.
    """
    what, licence = data
    written = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=120)
    file.write_text(
        f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [genaisys]
---

# {name}

A language model with {report["weights"]:,} weights, trained from the beginning with genaisys {version("genaisys")}.

- **Data:** {what}; {report["training_texts"]:,} texts to learn from, {report["held_out_texts"]:,} held out.
- **Licence of the data:** {licence}.
- **Command:** `genaisys train {name}.yaml`, which is the recipe below.
- **Steps:** {report["steps"]:,}; these are the weights of step {report["best_step"]:,}, the best on held-out texts.

{numbers_table(report)}

`curves.png` shows the course of the training, `samples.md` what the model writes.

```yaml
{written.rstrip()}
```
""",
        "utf-8",
    )
