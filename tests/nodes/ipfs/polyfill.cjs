// js-ipfs was archived before Node 22, whose Promise.withResolvers a library of it uses.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}
