// What this worker answers: a function from a Request to a Response, as browsers and Node have them.

export async function answer(request) {
  const url = new URL(request.url);
  if (url.pathname !== "/") {
    return text(404, "There is nothing here.\n");
  }
  return text(200, `hello, ${url.searchParams.get("name") ?? "you"}\n`);
}

function text(status, body) {
  return new Response(body, { status, headers: { "content-type": "text/plain; charset=utf-8" } });
}
