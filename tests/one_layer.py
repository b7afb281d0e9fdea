"""The text of a plugin file with a network of one layer, which a test completes with its own ``SPEC``."""

ONE_LAYER = """
from torch import nn
from hsrzoo.spec import ModelSpec, Official, Recipe

class Net(nn.Module):
    def __init__(self, bands):
        super().__init__()
        self.conv = nn.Conv2d(3, len(bands), 1)
    def forward(self, rgb):
        return self.conv(rgb)
"""
