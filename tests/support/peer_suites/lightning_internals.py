"""Tests of Lightning that look at what Holdfast has to change, so that they cannot pass; `docs/integrations/lightning.md` has them."""

OF_CALLBACK: dict[str, str] = {}
OF_IO: dict[str, str] = {}
