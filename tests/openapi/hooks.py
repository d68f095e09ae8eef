"""What would keep the attack for ever: streams that do not end, a thousand instances, an hour's wait."""

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.query:
        case.query.pop("follow", None)
        wait = case.query.get("timeout_ms")
        if str(wait).isdigit() and 500 < int(wait) < 2**64:
            case.query["timeout_ms"] = 500
    count = (case.path_parameters or {}).get("count")
    if str(count).isdigit() and 3 < int(count) <= 1000:
        case.path_parameters["count"] = 3
