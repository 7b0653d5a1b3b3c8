"""Domain.dnsZoneFile: the records the server wants to see, computed on each call."""

from datetime import UTC, datetime

from .store import Row, Tables

SERVICES = {"_jmap": 443, "_caldavs": 443, "_carddavs": 443, "_imaps": 993, "_pop3s": 995, "_submissions": 465}


def zone_file(tables: Tables, key: str, system: Row) -> str:
    domain = tables["x:Domain"][key]
    name, host = domain["name"], system.get("defaultHostname") or "localhost"
    report = str(domain.get("reportAddressUri") or "mailto:postmaster")
    report = report if "@" in report else f"{report}@{name}"
    lines = [line for row in _dkim_rows(tables, key) for line in _dkim_record(name, row)]
    lines += [
        f"{name}. IN MX {item.get('priority', 10)} {item.get('hostname') or host}." for item in _exchangers(system)
    ]
    lines += [f'{name}. IN TXT "v=spf1 mx -all"', f'{host}. IN TXT "v=spf1 a -all"']
    lines += [f'_dmarc.{name}. IN TXT "v=DMARC1; p=reject; rua={report}"']
    lines += [f'_smtp._tls.{name}. IN TXT "v=TLSRPTv1; rua={report}"', f"mta-sts.{name}. IN CNAME {host}."]
    lines += [f'_mta-sts.{name}. IN TXT "v=STSv1; id={datetime.now(UTC):%Y%m%d}"']
    lines += [f"{alias}.{name}. IN CNAME {host}." for alias in ("autoconfig", "autodiscover", "ua-auto-config")]
    lines += [f"{service}._tcp.{name}. IN SRV 0 1 {port} {host}." for service, port in SERVICES.items()]
    return "\n".join(lines) + "\n"


def _exchangers(system: Row) -> list[Row]:
    return list((system.get("mailExchangers") or {"0": {"priority": 10}}).values())


def _dkim_rows(tables: Tables, key: str) -> list[Row]:
    return [row for row in tables.get("x:DkimSignature", {}).values() if row["domainId"] == key]


def _dkim_record(name: str, row: Row) -> list[str]:
    kind = "ed25519" if "Ed25519" in row["@type"] else "rsa"
    text = f"v=DKIM1; k={kind}; h=sha256; p={row.get('publicKey', '')}"
    owner = f"{row['selector']}._domainkey.{name}. IN TXT"
    if len(text) <= 255:
        return [f'{owner} "{text}"']
    chunks = [text[start : start + 255] for start in range(0, len(text), 255)]
    return [f"{owner} (", *[f'    "{chunk}"' for chunk in chunks], ")"]
