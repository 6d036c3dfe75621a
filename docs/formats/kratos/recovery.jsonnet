// selfservice.flows.recovery.after.hooks: the account was recovered. All that was signed in before is signed out.
function(ctx) std.prune({
  flow: 'recovery',
  identity: { id: ctx.identity.id },
})
