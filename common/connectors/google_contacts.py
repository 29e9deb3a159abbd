"""Google Contacts: addresses and phone numbers of people the user knows.

https://developers.google.com/people/api/rest

Quirks seen in November 2026:
- A search wants a call with an empty query first, or it may miss what is new.
- Nobody found is an empty object. Any list of a person may be missing; `type` is free text.
- Matching is by the beginnings of words of names, mails, phones and companies.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, TypedDict

from msgspec import Meta

from common.errors import InvalidInput, VendorUnavailable
from common.tools import Connector, Source, ToolContext, ToolResult, tool
from common.tools.reading import fitting, record, records, shorten, text

_SCOPE = "https://www.googleapis.com/auth/"
READ, OTHERS = f"{_SCOPE}contacts.readonly", f"{_SCOPE}contacts.other.readonly"

CONNECTOR = Connector(
    name="Google Contacts",
    category="productivity",
    description="Looks up email addresses and phone numbers in the user's Google Contacts.",
    examples=(
        "What's Dana's phone number?",
        "Find Priya's email address.",
        "Look up the plumber in my contacts.",
    ),
    keywords=(
        "contact",
        "contacts",
        "address book",
        "phone number",
        "email address",
        "number",
        "person",
        "people",
        "friend",
        "colleague",
        "who",
        "google contacts",
        "reach",
        "get hold",
        "phone book",
        "addresses",
        "numbers",
        "phone",
        "email",
        "mobile number",
        "mail address",
        "cell number",
        "birthday",
        "my contacts",
        "contact details",
        "saved",
        "how do",
        "brother",
        "sister",
        "mom",
        "dad",
        "aunt",
        "uncle",
        "mother",
        "boss",
        "give me",
        "my dentist",
        "my boss",
        "my brother",
        "cousin",
        "neighbor",
        "coworker",
        "wife",
        "husband",
        "friends",
        "doctor",
        "card",
        "vcard",
        "call him",
        "call her",
    ),
    hosts=("people.googleapis.com",),
    auth="google",
    scopes=(READ, OTHERS),
    per_second=4,
)

API = "https://people.googleapis.com/v1"
MASK = "names,emailAddresses,phoneNumbers"

Limit: TypeAlias = Annotated[int, Meta(ge=1, le=15)]


class Contact(TypedDict):
    """A person; `saved` is false for someone merely written to before."""

    id: str
    name: str
    emails: list[str]
    phones: list[str]
    organization: str
    saved: bool


async def _get(ctx: ToolContext, path: str, scope: str, **params: Any) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {await ctx.access_token(scope)}"}
    body = await ctx.http.get_json(f"{API}{path}", params=params, headers=headers)
    if not isinstance(body, dict):
        raise VendorUnavailable("Google Contacts sent no answer. Try again in a moment.")
    return [record(row.get("person")) for row in records(body.get("results"))]


def _contact(row: dict[str, Any], saved: bool) -> Contact:
    def first(field: str, key: str) -> str:
        return next((text(item.get(key)) for item in records(row.get(field))), "")

    def several(field: str) -> list[str]:
        return [
            shorten(f"{value} ({kind})" if (kind := text(item.get("type"))) else value, 100)
            for item in records(row.get(field))
            if (value := text(item.get("canonicalForm")) or text(item.get("value")))
        ][:3]

    return Contact(
        id=text(row.get("resourceName"))[:60],
        name=shorten(first("names", "displayName"), 80),
        emails=several("emailAddresses"),
        phones=several("phoneNumbers"),
        organization=shorten(first("organizations", "name"), 80),
        saved=saved,
    )


def _say(contact: Contact) -> str:
    known = [*contact["emails"][:2], *contact["phones"][:2]]
    return f"{contact['name'] or 'Someone'}: {', '.join(known) or 'no address or number'}"


@tool(progress="Looking up your contacts…", timeout_s=15)
async def search_google_contacts(ctx: ToolContext, *, name: str, limit: Limit = 5) -> ToolResult:
    """Find people in the user's Google Contacts, with email addresses and phone numbers.

    Args:
        name: Beginning of a name, company, address or number.
        limit: How many, 1 to 15.
    """
    wanted = name.strip()
    if not wanted:
        raise InvalidInput("name must say who is looked for.")
    mask = f"{MASK},organizations"
    await _get(ctx, "/people:searchContacts", READ, query="", readMask=mask, pageSize=1)
    rows = await _get(
        ctx, "/people:searchContacts", READ, query=wanted, readMask=mask, pageSize=limit
    )
    people = [_contact(row, True) for row in rows]
    return _result(wanted, people[:limit])


@tool(progress="Looking up people you wrote to…", timeout_s=15)
async def search_google_other_contacts(
    ctx: ToolContext, *, name: str, limit: Limit = 5
) -> ToolResult:
    """Find people the user has written to but never saved; use where contacts have nobody.

    Args:
        name: Beginning of a name or an address.
        limit: How many, 1 to 15.
    """
    wanted = name.strip()
    if not wanted:
        raise InvalidInput("name must say who is looked for.")
    await _get(ctx, "/otherContacts:search", OTHERS, query="", readMask=MASK, pageSize=1)
    rows = await _get(
        ctx, "/otherContacts:search", OTHERS, query=wanted, readMask=MASK, pageSize=limit
    )
    people = [_contact(row, False) for row in rows]
    return _result(wanted, people[:limit])


def _result(asked: str, people: list[Contact]) -> ToolResult:
    people = [person for person in people if person["emails"] or person["phones"] or person["name"]]
    told = "; ".join(_say(person) for person in people[:3])
    return ToolResult(
        response_type="contact_list",
        data={"asked": asked, "contacts": fitting(people)},
        summary=shorten(f"{told}." if told else f"Nobody called {asked} was found.", 480),
        sources=(Source("Google Contacts", "https://contacts.google.com/"),),
        untrusted=True,
    )
