// selfservice.flows.settings.after.profile.hooks: the profile was changed. Kratos does not say what in it: use this only
// where the identity schema lets people change nothing but their address, or every change of a name signs people out.
function(ctx) std.prune({
  flow: 'settings',
  method: 'email',
  identity: { id: ctx.identity.id },
  session: { id: if std.objectHas(ctx, 'session') then ctx.session.id },
})
