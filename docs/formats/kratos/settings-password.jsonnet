// selfservice.flows.settings.after.password.hooks: the password was changed. The session where it was done stays.
function(ctx) std.prune({
  flow: 'settings',
  method: 'password',
  identity: { id: ctx.identity.id },
  session: { id: if std.objectHas(ctx, 'session') then ctx.session.id },
})
