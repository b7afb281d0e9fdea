"""The former place of :mod:`hsrzoo.models.onnx_runtime`, kept because devices run it by this name."""

from __future__ import annotations

import sys

from hsrzoo.models.onnx_runtime import OnnxModel, main

__all__ = ["OnnxModel", "main"]

if __name__ == "__main__":
    sys.stderr.write(
        "python -m hsrzoo.onnx_runtime is deprecated: use python -m hsrzoo.models.onnx_runtime\n"
    )
    sys.exit(main())
