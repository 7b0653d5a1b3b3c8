"""What the panel says to people, by language."""

from __future__ import annotations

from collections.abc import Mapping

GERMAN = {
    "language": "de",
    "title": "Verwaltung",
    "hello": "Guten Tag, {person}",
    "apps": "Anwendungen",
    "admins": "nur für die Verwaltung",
    "people": "Personen",
    "people_text": "Konten, Gruppen und Passwörter werden zurzeit direkt in Authentik verwaltet.",
    "people_link": "Personen in Authentik verwalten",
    "back": "Zur Übersicht",
    "401": "Bitte melden Sie sich an.",
    "404": "Diese Seite gibt es nicht.",
    "405": "Das geht auf dieser Seite nicht.",
    "500": "Hier ist ein Fehler aufgetreten. Er steht im Protokoll des Panels.",
}
ENGLISH = {
    "language": "en",
    "title": "Administration",
    "hello": "Hello, {person}",
    "apps": "Apps",
    "admins": "for administrators only",
    "people": "People",
    "people_text": "Accounts, groups and passwords are managed directly in Authentik for now.",
    "people_link": "Manage people in Authentik",
    "back": "Back to the overview",
    "401": "Please sign in.",
    "404": "There is no such page.",
    "405": "This page does not allow that.",
    "500": "Something went wrong here. The panel's log says what.",
}


def texts(language: str) -> Mapping[str, str]:
    return GERMAN if language == "de" else ENGLISH
