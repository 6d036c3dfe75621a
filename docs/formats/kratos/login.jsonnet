// selfservice.flows.login.after.hooks: somebody signed in again to a session that was there before.
function(ctx) std.prune({
  local listed(name) = if std.objectHas(ctx.session, name) && ctx.session[name] != null then ctx.session[name] else [],
  flow: 'login',
  identity: { id: ctx.identity.id },
  session: {
    id: ctx.session.id,
    authenticated_at: ctx.session.authenticated_at,
    expires_at: ctx.session.expires_at,
    // The first of them is when the session began: `authenticated_at` moves on.
    completed_at: [method.completed_at for method in listed('authentication_methods')],
    devices: [{ ip_address: device.ip_address, user_agent: device.user_agent } for device in listed('devices')],
  },
})
