-- Stands in for the community module of this name, which Debian does not package.
local allowed = { ["127.0.0.1"] = true, ["::1"] = true };

local function health(event)
	if not allowed[event.request.ip] then return 403; end
	return "Prosody is running: OK\n";
end

module:provides("http", { default_path = "/health", route = { GET = health } });
