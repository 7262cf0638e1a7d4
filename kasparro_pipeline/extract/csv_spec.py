"""What a `defs.yaml` says of CSV files: where they are, and how they are written. Reads none of them."""

import json
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.extract.csv_lines import codec_name
from kasparro_pipeline.extract.decompression import Limits

AUTO = "auto"
Character = Annotated[str, Field(min_length=1, max_length=1)]


class CsvDialect(StrictModel):
    """How the rows of a file are written."""

    dialect: Literal["declared", "auto"] = "declared"
    """`auto` finds out `delimiter`, `quote` and `header_rows`, those that are not declared. A file that can
    be read in several ways is an error that names them."""
    delimiter: str = ","
    """What separates cells: one character, or `auto` to find out this alone."""
    quote: str = Field(default='"', max_length=1)
    """What encloses a cell that holds a delimiter or a line break; twice inside a cell it stands for itself.
    Empty: nothing does."""
    escape: Character | None = None
    """What takes the meaning from the character behind it, such as a backslash."""
    header_rows: int = Field(default=1, ge=0, le=10)
    """Rows that name the columns. 0: none does, they are `column_1`, `column_2` and so on. Of several rows,
    the names of a column are joined by a space."""
    skip_rows: int = Field(default=0, ge=0)
    """Lines at the beginning of the file that are passed over, whatever they are."""
    comment: str | None = Field(default=None, min_length=1)
    """What a line begins with that is a comment, and no row."""
    duplicate_headers: Literal["reject", "number"] = "reject"
    """What is done about a column name that comes twice. `reject`: the file is an error. `number`: the second
    one is `name_2`, and so on."""
    encoding: str | None = None
    """An encoding, such as `windows-1252`, or `auto` to find it out. Default: UTF-8, or what a byte order
    mark says."""
    min_confidence: float = Field(default=0.8, ge=0, le=1)
    """How sure `encoding: auto` has to be; below it, a file is an error."""

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, encoding: str | None) -> str | None:
        if encoding not in {None, "", AUTO}:
            try:
                codec_name(str(encoding))
            except (LookupError, ValueError) as error:
                raise ValueError(f"the encoding {encoding!r} cannot be used: {error}") from error
        return encoding or None

    @model_validator(mode="after")
    def _characters_differ(self) -> Self:
        if len(self.delimiter) != 1 and self.delimiter != AUTO:
            raise ValueError(f"delimiter: one character, or `{AUTO}`, not {self.delimiter!r}")
        given = [one for one in (self.delimiter, self.quote, self.escape) if one]
        if len(set(given)) < len(given) or {"\r", "\n", "\x00"} & set(given):
            raise ValueError(
                "delimiter, quote and escape have to differ, and are neither line breaks nor NUL"
            )
        if self.comment and self.comment[0] in {self.delimiter, self.quote, self.escape, "\r", "\n"}:
            raise ValueError("comment: a row may begin with a delimiter, quote or escape; choose another")
        return self

    @property
    def detects(self) -> frozenset[str]:
        """The fields that are to be found out."""
        found = {"delimiter"} if self.delimiter == AUTO else set()
        if self.dialect == AUTO:
            found |= {"delimiter", "quote", "header_rows"} - (self.model_fields_set - found)
        return frozenset(found)


class CsvFiles(CsvDialect):
    """Which files, how they are packed, and how their rows are written."""

    files: str
    """A path with wildcards (`data/coin_reference/*.csv`; `**` for folders below), from the project."""
    compression: Literal["auto", "none", "gzip", "zip", "zstd"] = "auto"
    """How the files are compressed. `auto`: as their first bytes say."""
    members: str = "*.csv"
    """Which members of a ZIP file are read, each as a document; the others are reported and left."""
    max_bytes: int = Field(default=4 * 1024**3, gt=0)
    """Largest file taken, in bytes: also after decompression, and all members of a ZIP file together."""
    max_ratio: int = Field(default=250, ge=1)
    """Most bytes of content for each byte of a compressed file. It counts from 16 MB of content on."""

    @property
    def limits(self) -> Limits:
        """How much is taken from a file."""
        return Limits(self.max_bytes, self.max_ratio)

    def reading(self) -> str:
        """What decides how a file is read, as JSON: under an equal text, it is read the same way."""
        names = [*(set(CsvDialect.model_fields) - {"min_confidence"}), "compression", "members"]
        fields = {name: getattr(self, name) for name in names}
        if self.encoding not in {None, AUTO}:
            fields["encoding"] = codec_name(str(self.encoding))
        told = {name: one for name, one in fields.items() if one != CsvFiles.model_fields[name].default}
        return json.dumps(told | ({"detects": sorted(self.detects)} if self.detects else {}), sort_keys=True)
