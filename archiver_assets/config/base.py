"""What all models of the config have in common: frozen, strict, without unknown keys. Nothing else belongs here."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A section of the config."""

    # Strict, since True would pass for 1 and "5" for 5; without inputs in errors, since they may come from variables.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)
