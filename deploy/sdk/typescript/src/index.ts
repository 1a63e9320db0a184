// A client with the types of docs/backend-api.yaml, of which openapi-typescript makes ./api.ts.
import createClient, { type Client, type ClientOptions } from "openapi-fetch";
import type { components, paths } from "./api.js";

export type { components, operations, paths } from "./api.js";
export type Schemas = components["schemas"];
type Json = "application/json" | "application/problem+json"; // of what an answer may be, those with a type
export type GridgateClient = Client<paths, Json>;
export type ConnectOptions = Omit<ClientOptions, "baseUrl"> & { key?: string };

/** A client of the service at a URL, such as `http://127.0.0.1:8000`, with an API key if it asks for one. */
export function connect(baseUrl: string, options: ConnectOptions = {}): GridgateClient {
  const { key, ...others } = options;
  const client = createClient<paths, Json>({ ...others, baseUrl });
  if (key !== undefined)
    client.use({
      onRequest({ request }) {
        request.headers.set("Authorization", `Bearer ${key}`);
      },
    });
  return client;
}
