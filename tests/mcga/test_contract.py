"""Every MCGA variant meets the contract of all models."""

from contract import ModelContract
from hsrzoo_mcga.plugin import MCGA_S1, MCGA_S2, MCGA_S3, MCGA_S4


class TestMcgaS1(ModelContract):
    spec = MCGA_S1


class TestMcgaS2(ModelContract):
    spec = MCGA_S2


class TestMcgaS3(ModelContract):
    spec = MCGA_S3


class TestMcgaS4(ModelContract):
    spec = MCGA_S4
