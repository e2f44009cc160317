"""Names of the numbers in DNS messages (IANA's registry of DNS parameters)."""

# Each key is the number of the first name; the following names count up from it.
_KINDS = {
    1: "A NS MD MF CNAME SOA MB MG MR NULL WKS PTR HINFO MINFO MX TXT RP AFSDB X25 "
    "ISDN RT NSAP NSAP-PTR SIG KEY PX GPOS AAAA LOC NXT",
    33: "SRV",
    35: "NAPTR KX CERT A6 DNAME",
    41: "OPT APL DS SSHFP IPSECKEY RRSIG NSEC DNSKEY DHCID NSEC3 NSEC3PARAM TLSA "
    "SMIMEA",
    55: "HIP NINFO",
    59: "CDS CDNSKEY OPENPGPKEY CSYNC ZONEMD SVCB HTTPS DSYNC HHIT BRID",
    99: "SPF",
    103: "UNSPEC NID L32 L64 LP EUI48 EUI64",
    128: "NXNAME",
    249: "TKEY TSIG IXFR AXFR MAILB MAILA ANY URI CAA AVC",
    260: "AMTRELAY RESINFO WALLET",
    32768: "TA DLV",
}
_STATUSES = {
    0: "NOERROR FORMERR SERVFAIL NXDOMAIN NOTIMP REFUSED YXDOMAIN YXRRSET NXRRSET "
    "NOTAUTH NOTZONE DSOTYPENI",
    16: "BADVERS BADKEY BADTIME BADMODE BADNAME BADALG BADTRUNC BADCOOKIE",
}
_OPERATIONS = {0: "QUERY IQUERY STATUS", 4: "NOTIFY UPDATE DSO"}


def _numbered(runs: dict[int, str]) -> dict[int, str]:
    return {
        first + place: name
        for first, names in runs.items()
        for place, name in enumerate(names.split())
    }


_KIND = _numbered(_KINDS)
_STATUS = _numbered(_STATUSES)
_OPERATION = _numbered(_OPERATIONS)


def kind_name(number: int) -> str:
    """Return the name of the record type `number`, such as AAAA."""
    return _KIND.get(number) or f"TYPE{number}"


def status_name(number: int) -> str:
    """Return the name of the response code `number`, such as NXDOMAIN."""
    return _STATUS.get(number) or str(number)


def operation_name(number: int) -> str:
    """Return the name of the opcode `number`, such as UPDATE."""
    return _OPERATION.get(number) or f"opcode {number}"
