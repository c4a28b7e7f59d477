// A `fetch` event, as service workers have it. The regular expressions, JSON, dates and streams are
// those of SpiderMonkey, the engine of Firefox, compiled to wasm.

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname } = new URL(request.url);
  switch (pathname) {
    case "/":
      return new Response("hello from JavaScript\n");
    case "/words":
      return Response.json(words(await request.text()));
    case "/stream":
      return new Response(countdown(3));
    default:
      return new Response("GET /, GET /stream or POST /words\n", { status: 404 });
  }
}

// How often each word occurs.
function words(text) {
  const counts = {};
  for (const [word] of text.toLowerCase().matchAll(/[a-z]+/g)) {
    counts[word] = (counts[word] ?? 0) + 1;
  }
  return counts;
}

// A body that is written piece by piece while the client reads it.
function countdown(left) {
  const encoder = new TextEncoder();
  return new ReadableStream({
    pull(controller) {
      if (left === 0) return controller.close();
      controller.enqueue(encoder.encode(`${left--}\n`));
    },
  });
}
