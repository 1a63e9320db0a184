"""Credentials of VENs at the broker."""

import falcon
from falcon import Request, Response

from schemas.api.credentials import MadeCredential, VenCredential
from serving.auth.keys import caller_of
from serving.http.operations import Operation, ResponseSpec
from serving.http.parameters.ids import identifier
from serving.http.parameters.lists import CREDENTIALS, credential_filter, page
from serving.http.responses import answer, answer_list, answer_secret, link_next_page
from serving.registry.credentials import VenCredentials


class CredentialsResource:
    def __init__(self, credentials: VenCredentials) -> None:
        self._credentials = credentials

    @Operation(
        id="listCredentials",
        summary="Credentials of VENs, by id; without passwords",
        tag="credentials",
        parameters=CREDENTIALS,
        answers={
            200: ResponseSpec(
                "All that meet the parameters, or a page.", list[VenCredential], headers=("Link",)
            )
        },
    )
    def on_get(self, request: Request, response: Response) -> None:
        criteria, part = credential_filter(request.params), page(request.params)
        answer_list(response, link_next_page(request, response, part, self._credentials.all(criteria, part)))


class OneCredentialResource:
    def __init__(self, credentials: VenCredentials) -> None:
        self._credentials = credentials

    @Operation(
        id="getCredential",
        summary="The credential of a VEN, and whether the broker has it; without its password",
        tag="credentials",
        answers={200: ResponseSpec("The credential.", VenCredential)},
        problems=(404,),
    )
    def on_get(self, _request: Request, response: Response, ven_id: str) -> None:
        answer(response, self._credentials.one(identifier("venId", ven_id)))

    @Operation(
        id="makeCredential",
        summary="Give a VEN a password for the broker, which is shown this once",
        tag="credentials",
        answers={201: ResponseSpec("The credential and its password.", MadeCredential)},
        problems=(404, 409),
    )
    def on_post(self, request: Request, response: Response, ven_id: str) -> None:
        credential = self._credentials.make(identifier("venId", ven_id), caller_of(request).name)
        response.status = falcon.HTTP_201
        answer_secret(response, credential)

    @Operation(
        id="revokeCredential",
        summary="Revoke a VEN's login at the broker, and end its connections",
        tag="credentials",
        answers={202: ResponseSpec("The broker will be notified.", VenCredential)},
        problems=(404,),
    )
    def on_delete(self, request: Request, response: Response, ven_id: str) -> None:
        ven_id = identifier("venId", ven_id)
        self._credentials.revoke(ven_id, caller_of(request).name)
        response.status = falcon.HTTP_202
        answer(response, self._credentials.one(ven_id))


class CredentialRotationResource:
    def __init__(self, credentials: VenCredentials) -> None:
        self._credentials = credentials

    @Operation(
        id="rotateCredential",
        summary="Give a VEN another password for the broker, which is shown this once",
        tag="credentials",
        answers={200: ResponseSpec("The credential and its new password.", MadeCredential)},
        problems=(404, 409),
    )
    def on_post(self, request: Request, response: Response, ven_id: str) -> None:
        credential = self._credentials.rotate(identifier("venId", ven_id), caller_of(request).name)
        answer_secret(response, credential)
