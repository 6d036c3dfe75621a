-- Asks /check of `revoker serve` about a request. Sets txn.revoker_status (0: no answer) and what haproxy.cfg tells.

local CHECK = "http://127.0.0.1:8080/check"
local TIMEOUT_MS = 2000

local ASKED = { "authorization", "cookie", "accept-language" }
local TOLD = {
    revoker_subject = "x-revoker-subject",
    revoker_session = "x-revoker-session",
    revoker_cause = "x-revoker-cause",
    revoker_challenge = "www-authenticate",
}

local function check(txn)
    local sent = txn.http:req_get_headers()
    local headers = { ["x-forwarded-for"] = { txn.f:src() } }
    for _, name in ipairs(ASKED) do
        if sent[name] then
            headers[name] = {}
            for _, value in pairs(sent[name]) do
                table.insert(headers[name], value)
            end
        end
    end

    local asked, answer = pcall(function()
        return core.httpclient():get { url = CHECK, headers = headers, timeout = TIMEOUT_MS }
    end)
    if not asked or not answer or not answer.status then
        txn:set_var("txn.revoker_status", 0)
        return
    end
    txn:set_var("txn.revoker_status", answer.status)
    for variable, name in pairs(TOLD) do
        local values = answer.headers[name]
        txn:set_var("txn." .. variable, values and values[0] or "")
    end
end

core.register_action("revoker_check", { "http-req" }, check, 0)
