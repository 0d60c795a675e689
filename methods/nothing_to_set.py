"""The configuration of methods that have none."""

from pydantic import BaseModel, ConfigDict


class NothingToSet(BaseModel):
    """There is nothing to set."""

    model_config = ConfigDict(extra="forbid", frozen=True)
