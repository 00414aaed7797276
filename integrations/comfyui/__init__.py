"""Nodes for ComfyUI that upscale and denoise pictures with waifu2x.

docs/integrations.md describes the installation, the inputs and a workflow.
"""

from .nodes import Waifu2xUpscale

NODE_CLASS_MAPPINGS = {"Waifu2xUpscale": Waifu2xUpscale}
NODE_DISPLAY_NAME_MAPPINGS = {"Waifu2xUpscale": "waifu2x Upscale"}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
