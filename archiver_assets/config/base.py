"""The base of all models of the config: frozen, strict, without unknown keys."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A section of the config."""

    # Strict, since True would pass for 1 and "5" for 5; without inputs in errors, since they may come from variables.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)
