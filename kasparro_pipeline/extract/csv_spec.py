"""What a `defs.yaml` says of CSV files: where they are, and how they are written. Reads none of them."""

import json
import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from kasparro_pipeline.contract.spec import StrictModel
from kasparro_pipeline.extract.auth import Auth, EnvironmentName
from kasparro_pipeline.extract.csv_lines import codec_name
from kasparro_pipeline.extract.decompression import Limits
from kasparro_pipeline.extract.http import HttpSettings

AUTO = "auto"
STORES = ("s3", "gs", "az")
_ADDRESS = re.compile(r"https?://[^/@\s]+(/[^\s*]*)?")
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


class ObjectStore(StrictModel):
    """How an object store is reached. Secrets are named here, and come from the environment."""

    endpoint: str | None = Field(default=None, pattern=r"^https?://[^/@\s]+(/\S*)?$")
    """Address of the store. Default: that of Amazon, Google or Microsoft."""
    region: str = "us-east-1"
    """Region of the bucket (S3)."""
    access_key_id_env: EnvironmentName | None = None
    """Environment variable that holds the access key's id (S3)."""
    secret_access_key_env: EnvironmentName | None = None
    """Environment variable that holds the secret access key (S3)."""
    session_token_env: EnvironmentName | None = None
    """Environment variable that holds the token of a temporary access key (S3)."""
    service_account_key_env: EnvironmentName | None = None
    """Environment variable that holds the JSON of a service account's key (Google)."""
    account: str | None = None
    """Name of the storage account (Azure)."""
    account_key_env: EnvironmentName | None = None
    """Environment variable that holds the account's key (Azure)."""
    anonymous: bool = False
    """Whether the store is asked without credentials, as public ones allow."""

    @model_validator(mode="after")
    def _says_who_asks(self) -> Self:
        if self.anonymous == bool(self.environment_names):
            raise ValueError("name the environment variables of the credentials, or set `anonymous: true`")
        if bool(self.access_key_id_env) != bool(self.secret_access_key_env):
            raise ValueError("access_key_id_env and secret_access_key_env go together")
        return self

    def problem_with(self, scheme: str) -> str | None:
        """What is missing for a kind of store; None if nothing is."""
        needed = {
            "s3": ("access_key_id_env", "secret_access_key_env"),
            "gs": ("service_account_key_env",),
            "az": ("account", "account_key_env"),
        }[scheme]
        asked = ("account",) if self.anonymous and scheme == "az" else () if self.anonymous else needed
        missing = [name for name in asked if not getattr(self, name)]
        return f"{scheme}:// needs {', '.join(missing)} in `store`" if missing else None

    @property
    def environment_names(self) -> list[str]:
        """The environment variables that have to be set."""
        named = (getattr(self, name) for name in type(self).model_fields if name.endswith("_env"))
        return [name for name in named if name]


class CsvFiles(CsvDialect):
    """Which files, how they are packed, and how their rows are written."""

    files: str
    """A path with wildcards (`data/coin_reference/*.csv`; `**` for folders below), from the project; the
    same in an object store (`s3://bucket/folder/*.csv`, `gs://…`, `az://container/…`); or one `https://`
    address."""
    store: ObjectStore | None = None
    """How the object store is reached, where `files` is in one."""
    auth: Auth | None = None
    """How the source proves who it is to an `https://` address. Secrets are named here, and come from the
    environment."""
    http: HttpSettings = HttpSettings()
    """Time-outs, retries and limits of addresses and object stores; its `max_bytes` is not used."""
    compression: Literal["auto", "none", "gzip", "zip", "zstd"] = "auto"
    """How the files are compressed. `auto`: as their first bytes say."""
    members: str = "*.csv"
    """Which members of a ZIP file are read, each as a document; the others are reported and left."""
    max_bytes: int = Field(default=4 * 1024**3, gt=0)
    """Largest file taken, in bytes: also after decompression, and all members of a ZIP file together."""
    max_ratio: int = Field(default=250, ge=1)
    """Most bytes of content for each byte of a compressed file. It counts from 16 MB of content on."""

    @model_validator(mode="after")
    def _place_fits(self) -> Self:
        if self.scheme not in {"", "http", "https", *STORES}:
            raise ValueError(f"files: {self.scheme}:// is none of {', '.join(STORES)}, https")
        if self.scheme in STORES and self.store is None:
            raise ValueError(f"files: {self.scheme}:// needs `store`, which says who asks")
        if self.scheme in STORES and self.store and (problem := self.store.problem_with(self.scheme)):
            raise ValueError(f"files: {problem}")
        if self.scheme.startswith("http") and not _ADDRESS.fullmatch(self.files):
            raise ValueError("files: an address has a host, and neither user nor wildcards")
        if self.store is not None and self.scheme not in STORES:
            raise ValueError(f"store: it is for {', '.join(STORES)}; `files` is none of them")
        return self

    @property
    def scheme(self) -> str:
        """What stands before `://` in `files`; empty for a folder."""
        before, found, _ = self.files.partition("://")
        return before if found else ""

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
