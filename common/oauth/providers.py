"""The services whose accounts can be linked, as data: a new one is an entry, not code.

https://developers.google.com/identity/protocols/oauth2/web-server
https://docs.slack.dev/authentication/installing-with-oauth
https://developer.spotify.com/documentation/web-api/tutorials/code-pkce-flow
https://developers.notion.com/docs/authorization · https://developer.todoist.com/api/v1
https://developers.asana.com/docs/oauth · https://docs.github.com/apps (user access tokens)

Quirks seen in November 2026:
- Google gives a refresh token only to those asked for consent again; revoking one token ends the
  whole grant of that account. Whoever is asked may leave out single permissions.
- Slack answers failures with 200, and puts a user's token below `authed_user`. Its refresh tokens,
  GitHub's and Spotify's may work once.
- Spotify has no revocation; Todoist's and Notion's tokens may never end.
"""

from __future__ import annotations

from types import MappingProxyType

from common.oauth.flow import Provider, Revoke

_G = "https://www.googleapis.com/auth/"
_SLACK = (
    "channels:read", "groups:read", "im:read", "im:write", "mpim:read", "channels:history",
    "groups:history", "im:history", "mpim:history", "users:read", "users:read.email",
    "chat:write", "search:read",
)  # fmt: skip
_SLACK_WORDS = {
    "channels:read": "see which public channels there are",
    "groups:read": "see which private channels you are in",
    "im:read": "see with whom you have direct messages",
    "im:write": "begin direct messages",
    "mpim:read": "see which group messages you are in",
    "channels:history": "read public channels you are in",
    "groups:history": "read private channels you are in",
    "im:history": "read your direct messages",
    "mpim:history": "read your group messages",
    "users:read": "see who is in the workspace",
    "users:read.email": "see their mail addresses",
    "chat:write": "post as you",
    "search:read": "search what you can see",
}

_ALL = (
    Provider(
        slug="google", name="Google", keys="GOOGLE",
        authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
        token_url="https://oauth2.googleapis.com/token",  # noqa: S106  # an address
        profile_url="https://openidconnect.googleapis.com/v1/userinfo",
        id_at=("sub",), label_at=("email", "name"),
        base_scopes=("openid", "email", "profile"),
        features={
            "mail": (f"{_G}gmail.readonly", f"{_G}gmail.compose", f"{_G}gmail.modify"),
            "calendar": (f"{_G}calendar.events", f"{_G}calendar.freebusy"),
            "drive": (
                f"{_G}drive.readonly", f"{_G}drive.file", f"{_G}documents", f"{_G}spreadsheets",
            ),
            "contacts": (f"{_G}contacts.readonly", f"{_G}contacts.other.readonly"),
            "tasks": (f"{_G}tasks",),
        },
        words={
            f"{_G}gmail.readonly": "see your mail and its settings",
            f"{_G}gmail.compose": "write drafts and send mail",
            f"{_G}gmail.modify": "archive, mark and move your mail, but not delete it for good",
            f"{_G}calendar.events": "see and change the events of your calendars",
            f"{_G}calendar.freebusy": "see when you are free or busy",
            f"{_G}drive.readonly": "see and download all your files",
            f"{_G}drive.file": "make files, and change those it made or you opened with it",
            f"{_G}documents": "see, make, change and delete your documents",
            f"{_G}spreadsheets": "see, make, change and delete your spreadsheets",
            f"{_G}contacts.readonly": "see your contacts",
            f"{_G}contacts.other.readonly": "see people you wrote to and never saved",
            f"{_G}tasks": "see, make, change and delete your tasks",
        },
        implied={f"{_G}gmail.modify": (f"{_G}gmail.readonly", f"{_G}gmail.compose")},
        extra={
            "access_type": "offline", "include_granted_scopes": "true",
            "prompt": "consent select_account",
        },
        lasting=True, retries_refresh=True,
        revoke=Revoke(url="https://oauth2.googleapis.com/revoke", carries="form"),
        hosts=("oauth2.googleapis.com", "openidconnect.googleapis.com"),
        callback="/auth/google/callback", login="/auth/google/login",
    ),
    Provider(
        slug="slack", name="Slack", keys="SLACK",
        authorize_url="https://slack.com/oauth/v2/authorize",
        token_url="https://slack.com/api/oauth.v2.access",  # noqa: S106  # an address
        id_at=("team.id", "authed_user.id"), label_at=("team.name",),
        features={"messages": _SLACK},
        words=_SLACK_WORDS,
        scope_field="user_scope", scope_separator=",", pkce=False, grant_at="authed_user",
        revoke=Revoke(url="https://slack.com/api/auth.revoke", carries="bearer"),
        hosts=("slack.com",),
    ),
    Provider(
        slug="spotify", name="Spotify", keys="SPOTIFY",
        authorize_url="https://accounts.spotify.com/authorize",
        token_url="https://accounts.spotify.com/api/token",  # noqa: S106  # an address
        profile_url="https://api.spotify.com/v1/me",
        id_at=("id",), label_at=("display_name", "email"),
        features={"player": ("user-read-playback-state", "user-modify-playback-state")},
        words={
            "user-read-playback-state": "see what is playing, and on which device",
            "user-modify-playback-state": "start, pause and skip what plays",
        },
        basic=True, lasting=True,
        hosts=("accounts.spotify.com", "api.spotify.com"),
    ),
    Provider(
        slug="notion", name="Notion", keys="NOTION",
        authorize_url="https://api.notion.com/v1/oauth/authorize",
        token_url="https://api.notion.com/v1/oauth/token",  # noqa: S106  # an address
        id_at=("workspace_id",), label_at=("workspace_name",),
        words={"": "see and change the pages that you choose on Notion's own page"},
        extra={"owner": "user"}, pkce=False, basic=True, json=True,
        revoke=Revoke(url="https://api.notion.com/v1/oauth/revoke", carries="basic_json"),
        hosts=("api.notion.com",),
    ),
    Provider(
        slug="todoist", name="Todoist", keys="TODOIST",
        authorize_url="https://todoist.com/oauth/authorize",
        token_url="https://todoist.com/oauth/access_token",  # noqa: S106  # an address
        profile_url="https://api.todoist.com/api/v1/user",
        id_at=("id",), label_at=("email", "full_name"),
        features={"tasks": ("data:read_write", "data:delete")},
        words={
            "data:read_write": "see, add and change your tasks and projects",
            "data:delete": "delete them",
        },
        scope_separator=",", pkce=False,
        hosts=("todoist.com", "api.todoist.com"),
    ),
    Provider(
        slug="asana", name="Asana", keys="ASANA",
        authorize_url="https://app.asana.com/-/oauth_authorize",
        token_url="https://app.asana.com/-/oauth_token",  # noqa: S106  # an address
        profile_url="https://app.asana.com/api/1.0/users/me",
        id_at=("data.gid",), label_at=("data.email", "data.name"),
        base_scopes=("users:read",),
        words={
            "tasks:read": "see the tasks you can see",
            "tasks:write": "add and change tasks",
            "projects:read": "see projects",
            "workspaces:read": "see which workspaces you are in",
            "stories:write": "comment as you",
        },
        features={
            "tasks": (
                "tasks:read", "tasks:write", "projects:read", "workspaces:read", "stories:write",
            )
        },
        lasting=True, retries_refresh=True,
        revoke=Revoke(url="https://app.asana.com/-/oauth_revoke", carries="form"),
        hosts=("app.asana.com",),
    ),
    Provider(
        slug="github", name="GitHub", keys="GITHUB",
        authorize_url="https://github.com/login/oauth/authorize",
        token_url="https://github.com/login/oauth/access_token",  # noqa: S106  # an address
        profile_url="https://api.github.com/user",
        id_at=("id",), label_at=("login",),
        features={"issues": ("repo", "notifications")},
        words={
            "repo": "see and change all repositories you have, private ones too: GitHub has no "
            "smaller permission for issues",
            "notifications": "see your notifications",
        },
        revoke=Revoke(
            url="https://api.github.com/applications/{client_id}/grant", method="DELETE",
            carries="basic_json", field="access_token",
        ),
        hosts=("github.com", "api.github.com"),
    ),
)  # fmt: skip

PROVIDERS = MappingProxyType({provider.slug: provider for provider in _ALL})
